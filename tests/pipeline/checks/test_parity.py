"""Two files of one network, equal or made to differ in one place that must be named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.checks.graph import read_graph
from pipeline.checks.parity import (
    NOT_FINITE_LSB,
    compare_outputs,
    compare_scales,
    scales_of,
)
from pipeline.errors import ModelError
from tests.small_files import (
    HIDDEN,
    INPUT,
    OUTPUT,
    POOLED,
    weights,
    write_onnx,
    write_tflite,
)


def test_both_files_of_one_network_hold_the_same_scales(tmp_path: Path) -> None:
    onnx_scales = scales_of(read_graph(write_onnx(tmp_path / "m.onnx")))
    tflite_scales = scales_of(read_graph(write_tflite(tmp_path / "m.tflite")))

    expected = [(float(np.float32(scale)), zero_point) for scale, zero_point in (INPUT, HIDDEN, POOLED, OUTPUT)]
    assert tflite_scales.activations == tuple(expected)
    assert list(dict.fromkeys(onnx_scales.activations)) == expected
    assert onnx_scales.weights == tflite_scales.weights
    assert len(onnx_scales.weights[0]) == 4


def test_equal_scales_are_found_equal(tmp_path: Path) -> None:
    comparison = compare_scales(
        read_graph(write_onnx(tmp_path / "m.onnx")), read_graph(write_tflite(tmp_path / "m.tflite"))
    )

    assert comparison.equal
    assert (comparison.activations, comparison.weights) == (4, 2)


@pytest.mark.parametrize("hidden", [(0.031, -128), (0.03, -127)])
def test_an_activation_with_another_scale_or_zero_point_is_told(tmp_path: Path, hidden: tuple[float, int]) -> None:
    comparison = compare_scales(
        read_graph(write_onnx(tmp_path / "m.onnx")), read_graph(write_tflite(tmp_path / "m.tflite", hidden=hidden))
    )

    assert not comparison.equal
    assert comparison.only_first == ("activation with scale 0.03, zero point -128",)
    assert comparison.only_second == (f"activation with scale {hidden[0]}, zero point {hidden[1]}",)


def test_one_channels_weight_scale_off_by_a_trifle_is_told(tmp_path: Path) -> None:
    changed = weights().dense_scales.copy()
    changed[2] = np.nextafter(changed[2], np.float32(1))
    other = write_tflite(tmp_path / "m.tflite", made_of=replace(weights(), dense_scales=changed))

    comparison = compare_scales(read_graph(write_onnx(tmp_path / "m.onnx")), read_graph(other))

    assert not comparison.equal
    assert comparison.only_second == ("weights with 3 scales, the first 0.01",)


def test_outputs_are_compared_in_lsbs_of_their_scale() -> None:
    first = np.zeros((1, 10), np.float32)
    second = np.array([[0, 0, 0, 0, 0, 0, 0.1, -0.1, 0.2, 0.5]], np.float32)

    comparison = compare_outputs(first, second, scale=0.1)

    assert (comparison.equal, comparison.within_1_lsb, comparison.within_2_lsb) == pytest.approx((0.6, 0.8, 0.9))
    assert comparison.max_lsb == pytest.approx(5)


def test_float_outputs_are_compared_relative_to_their_range() -> None:
    first = np.linspace(-100, 155, 256).reshape(16, 16)

    comparison = compare_outputs(first, first + 1.2)

    assert (comparison.equal, comparison.within_1_lsb) == (0.0, 1.0)
    assert comparison.max_lsb == pytest.approx(1.2)


def test_arg_max_agreement_counts_samples_and_places() -> None:
    first, second = np.eye(4), np.eye(4)
    second[0] = [0, 1, 0, 0]
    image = np.zeros((1, 2, 2, 2))
    other = image.copy()
    other[0, 1, 0, 0] = 1

    assert compare_outputs(first, second, scale=1).argmax_agreement == 0.75
    assert compare_outputs(image, other, scale=1).argmax_agreement == 0.75
    assert compare_outputs(first[:, :1], second[:, :1], scale=1).argmax_agreement is None


def test_what_is_not_finite_is_never_equal() -> None:
    comparison = compare_outputs(np.array([[1.0, np.nan]]), np.array([[1.0, np.nan]]), scale=1)

    assert comparison.equal == 0.5
    assert comparison.max_lsb == NOT_FINITE_LSB


def test_outputs_of_other_shapes_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shapes \[1, 2\] and \[2, 1\]"):
        compare_outputs(np.zeros((1, 2)), np.zeros((2, 1)))


def test_constant_equal_outputs_are_equal() -> None:
    assert compare_outputs(np.ones((3, 2)), np.ones((3, 2))).equal == 1.0
