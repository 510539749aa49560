import pytest
import torch

from pipeline.quantization.ranges import (
    BINS,
    METHODS,
    RANGES,
    HistogramRange,
    Method,
    MovingRange,
    MseRange,
    PercentileRange,
    scale_and_zero_point,
)


def test_a_range_holds_zero_even_where_the_values_do_not() -> None:
    scale, zero_point = scale_and_zero_point(torch.tensor(2.0), torch.tensor(6.0))

    assert float(scale) == pytest.approx(6 / 255)
    assert int(zero_point) == -128


def test_zero_is_exact_in_int8() -> None:
    torch.manual_seed(0)
    for _ in range(100):
        low, high = -torch.rand(()) * 5, torch.rand(()) * 5
        scale, zero_point = scale_and_zero_point(low, high)
        ends = torch.round(torch.stack([low, high]) / scale) + zero_point

        assert -128 <= int(zero_point) <= 127
        assert -129 <= float(ends[0]) <= float(ends[1]) <= 128


def test_a_tensor_that_is_always_zero_has_a_scale() -> None:
    scale, zero_point = scale_and_zero_point(torch.tensor(0.0), torch.tensor(0.0))

    assert float(scale) > 0
    assert int(zero_point) == -128


def test_the_first_batches_count_alike_in_a_moving_range() -> None:
    found = MovingRange()
    for most in (1.0, 2.0, 6.0):
        found.update(torch.tensor([-most, most]))

    assert float(found.high) == pytest.approx(3.0)
    assert float(found.low) == pytest.approx(-3.0)


def test_a_batch_counts_once_in_a_moving_range_however_many_tensors_share_it() -> None:
    shared, alone = MovingRange(), MovingRange()
    for least, most in ((-1.0, 3.0), (-5.0, 9.0)):
        shared.update(torch.tensor([0.0, most]))
        shared.update(torch.tensor([least, 0.1]), same_batch=True)
        alone.update(torch.tensor([least, most]))

    assert int(shared.batches) == 2
    assert (float(shared.low), float(shared.high)) == (float(alone.low), float(alone.high)) == (-3.0, 6.0)


def test_a_percentile_range_leaves_an_outlier_outside() -> None:
    torch.manual_seed(0)
    found = PercentileRange()
    for _ in range(10):
        found.update(torch.randn(10_000))
    found.update(torch.tensor([100.0]))

    assert 3.0 < float(found.high) < 5.0
    assert -5.0 < float(found.low) < -3.0


def test_a_percentile_range_of_positive_values_starts_at_zero() -> None:
    torch.manual_seed(0)
    found = PercentileRange()
    found.update(torch.rand(100_000))

    assert 0.0 <= float(found.low) < 0.01
    assert 0.98 < float(found.high) <= 1.0


def test_an_mse_range_has_less_error_than_the_whole_one() -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(100_000), torch.tensor([40.0, -40.0])])
    found = MseRange()
    found.update(x)
    errors = []
    for low, high in ((found.low, found.high), (x.min(), x.max())):
        scale, zero_point = scale_and_zero_point(low, high)
        rounded = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)
        errors.append(float(((rounded - x) ** 2).mean()))

    assert errors[0] < errors[1] * 0.9
    assert float(found.high) < 40


@pytest.mark.parametrize("kind", [PercentileRange, MseRange])
def test_a_histogram_keeps_every_value_in_memory_that_does_not_grow(kind: type[HistogramRange]) -> None:
    found = kind()
    for reach in (0.1, 1.0, 1000.0, 3.0):
        found.update(torch.linspace(-reach, reach, 500))

    assert found.counts.shape == (BINS,)
    assert float(found.counts.sum()) == 2000


def test_the_order_of_batches_hardly_matters_to_a_histogram() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(1000) * scale for scale in (0.5, 1.0, 4.0)]
    ranges = []
    for order in (batches, batches[::-1]):
        found = PercentileRange()
        for batch in order:
            found.update(batch)
        ranges.append(float(found.high))

    assert ranges[0] == pytest.approx(ranges[1], rel=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_zeros_is_a_range(method: Method) -> None:
    found = RANGES[method]()
    found.update(torch.zeros(10))

    assert float(found.low) == float(found.high) == 0.0
