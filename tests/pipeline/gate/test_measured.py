"""A device's figures judge what they are about, and nothing else."""

from typing import Any

import pytest

from devices import Measurement
from pipeline.gate.budget import LIMITS, judge
from pipeline.gate.measured import SOURCES, figures
from targets import Target, load_target
from tests.small_gate import measurement

BOARD = load_target("raspberry-pi-4")


def outcome(key: str, limit: float, *measurements: Measurement, target: Target | None = BOARD) -> tuple[str, str]:
    [line] = judge({key: limit}, figures(measurements, target))
    return line.outcome, line.why


@pytest.mark.parametrize(
    ("key", "given", "limit"),
    [
        ("latency_ms", measurement("latency", 2000.0, low=1900.0, high=2100.0), 2.1),
        ("p90_ms", measurement("latency", 2000.0, p90=2500.0, p90_low=2400.0, p90_high=2500.0), 2.5),
        ("load_ms", measurement("load", 9000.0, low=8000.0, high=10_000.0), 10.0),
        ("first_ms", measurement("first inference", 3000.0, low=3000.0, high=3000.0), 3.0),
        ("process_kib", measurement("peak memory", 500.0, low=500.0, high=512.0, unit="KiB"), 512.0),
        (
            "instructions",
            measurement("instructions", 1e6, low=1e6, high=1e6, unit="instructions", label="emulated"),
            1e6,
        ),
        ("arena_kib", measurement("arena", 2048.0, low=2048.0, high=2048.0, unit="B"), 2.0),
        ("sram_kib", measurement("sram", 80.0, low=80.0, high=80.0, unit="KiB", label="estimated"), 80.0),
    ],
)
def test_a_figure_judges_its_key_in_its_unit(key: str, given: Measurement, limit: float) -> None:
    assert outcome(key, limit, given)[0] == "kept"
    assert outcome(key, limit * 0.7, given)[0] == "missed"


@pytest.mark.parametrize("device", ["host", "replay of host", "replay of replay of host"])
def test_a_host_never_judges_a_target(device: str) -> None:
    fast = measurement(value=1.0, low=1.0, high=1.0, device=device)

    assert outcome("latency_ms", 2.0, fast)[0] == "not_shown"
    assert "never judges raspberry-pi-4" in outcome("latency_ms", 2.0, fast)[1]
    assert outcome("latency_ms", 2.0, fast, target=None)[0] == "kept"


def test_an_invalid_measurement_judges_nothing() -> None:
    busy = measurement(value=1.0, low=1.0, high=1.0, valid=False, why_invalid="it got 40% of the processor")

    assert outcome("latency_ms", 2.0, busy) == (
        "not_shown",
        "measured on board, litert 2.3.0, 1 thread, not valid: it got 40% of the processor",
    )


def test_an_estimate_judges_by_its_band_and_never_without_one() -> None:
    banded: dict[str, Any] = {"label": "estimated", "how": "a model, 35 % off at worst"}

    assert outcome("latency_ms", 4.0, measurement(value=2000.0, low=1300.0, high=2700.0, **banded))[0] == "kept"
    assert outcome("latency_ms", 2.5, measurement(value=2000.0, low=1300.0, high=2700.0, **banded))[0] == "not_shown"
    assert outcome("latency_ms", 9.0, measurement(value=2000.0, low=2000.0, high=2000.0, **banded))[0] == "not_shown"


def test_a_unit_that_is_not_the_key_s_judges_nothing() -> None:
    assert outcome("latency_ms", 9.0, measurement(unit="cycles"))[0] == "not_shown"


def test_a_device_without_percentiles_says_so() -> None:
    assert "gives no 90th percentile" in outcome("p90_ms", 9.0, measurement(p90=None))[1]
    assert "gives no 90th percentile with its spread" in outcome("p90_ms", 9.0, measurement(p90=2200.0))[1]


def test_a_percentile_judges_by_its_spread_over_processes() -> None:
    spread = measurement(p90=1999.0, p90_low=1800.0, p90_high=2300.0)

    assert [outcome("p90_ms", limit, spread)[0] for limit in (1.5, 2.0, 2.4)] == ["missed", "not_shown", "kept"]


def test_a_device_that_does_not_tell_a_figure_is_named() -> None:
    arena = measurement("arena", 2048.0, unit="B", device="tflm")

    assert outcome("latency_ms", 9.0, arena) == (
        "not_shown",
        "tflm doesn't tell it; name a device that does with --device",
    )


def test_every_key_that_a_device_answers_is_a_limit() -> None:
    assert set(SOURCES) <= set(LIMITS)
