from typing import Literal

from pipeline.recipe import Budget
from pipeline.report.model import Interval, MeasurementFacts
from pipeline.report.verdicts import verdicts

FILES = {"int8 onnx": 20 * 1024}


def figure(
    device: str, *, low: float, high: float, valid: bool = True, label: Literal["measured", "estimated"] = "measured"
) -> MeasurementFacts:
    return MeasurementFacts(
        model="int8 onnx",
        device=device,
        machine="a machine",
        runtime="onnxruntime 1",
        threads=1,
        quantity="latency",
        unit="ms",
        label=label,
        value=(low + high) / 2,
        p90=high,
        p99=None,
        low=low,
        high=high,
        samples=100,
        processes=5,
        drift=0.0,
        valid=valid,
        why_invalid=None if valid else "busy",
        how="",
        made_at="2026-01-01T00:00:00+00:00",
    )


def outcome(budget: Budget, *, drop: Interval | None = None, figures: tuple[MeasurementFacts, ...] = ()) -> list[str]:
    drops = {"int8 onnx": drop or Interval(value=0, low=0, high=0)}
    found = verdicts(budget, target="pixel-8", drops=drops, files=FILES, measurements=figures)
    return [verdict.outcome for verdict in found]


def test_a_drop_is_kept_only_when_its_whole_interval_is_below_the_limit() -> None:
    budget = Budget(max_drop=0.01)

    assert outcome(budget, drop=Interval(value=0.002, low=-0.003, high=0.008)) == ["kept"]
    assert outcome(budget, drop=Interval(value=0.008, low=0.002, high=0.014)) == ["not_shown"]
    assert outcome(budget, drop=Interval(value=0.03, low=0.02, high=0.04)) == ["missed"]


def test_a_size_is_judged_exactly() -> None:
    assert outcome(Budget(size_kib=20)) == ["kept"]
    assert outcome(Budget(size_kib=19.9)) == ["missed"]


def test_a_figure_of_the_host_never_judges_another_device() -> None:
    assert outcome(Budget(latency_ms=5), figures=(figure("host", low=0.1, high=0.2),)) == ["not_shown"]


def test_an_invalid_figure_judges_nothing() -> None:
    disturbed = figure("pixel-8", low=1, high=2, valid=False)

    [verdict] = verdicts(Budget(latency_ms=5), target="pixel-8", drops={}, files=FILES, measurements=(disturbed,))

    assert (verdict.outcome, verdict.why) == ("not_shown", "measured on pixel-8, but invalid: busy")


def test_a_valid_figure_of_the_device_itself_judges() -> None:
    assert outcome(Budget(latency_ms=5), figures=(figure("pixel-8", low=1, high=2),)) == ["kept"]
    assert outcome(Budget(latency_ms=5), figures=(figure("pixel-8", low=6, high=7),)) == ["missed"]


def test_an_estimate_judges_by_its_band_and_without_one_not_at_all() -> None:
    bare, banded = (figure("pixel-8", low=low, high=2, label="estimated") for low in (2, 1))

    assert outcome(Budget(latency_ms=5), figures=(banded,)) == ["kept"]
    assert outcome(Budget(latency_ms=1.9), figures=(banded,)) == ["not_shown"]
    assert outcome(Budget(latency_ms=0.9), figures=(banded,)) == ["missed"]
    assert outcome(Budget(latency_ms=5), figures=(bare,)) == ["not_shown"]
    assert outcome(Budget(latency_ms=1), figures=(bare,)) == ["not_shown"]


def test_no_budget_gives_no_verdict() -> None:
    assert outcome(Budget()) == []


def test_an_estimate_of_several_threads_does_not_judge() -> None:
    one = figure("pixel-8", low=4, high=6, label="estimated")
    four = figure("pixel-8", low=1, high=2, label="estimated").model_copy(update={"threads": 4})

    assert outcome(Budget(latency_ms=7), figures=(one, four)) == ["kept"]
    assert outcome(Budget(latency_ms=3), figures=(one, four)) == ["missed"]
