"""A budget line is kept or missed only by what is known beyond doubt."""

import pytest

from pipeline.errors import RecipeError
from pipeline.gate.budget import LIMITS, Figure, budget_findings, checked_budget, judge, number, read_budget, told


def figure(value: float, low: float | None = None, high: float | None = None, missing: str = "") -> Figure:
    return Figure(value, value if low is None else low, value if high is None else high, "measured", "how", missing)


def test_lines_are_read_as_limits() -> None:
    assert read_budget(["size_kib=56", "latency_ms = 2.5"]) == {"size_kib": 56.0, "latency_ms": 2.5}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("size_kib", "is no key=value"),
        ("size_kib=big", "'big' is no number"),
        ("size_kib=nan", "allowed is a number from 0"),
        ("size_kib=-1", "allowed is a number from 0"),
        ("min_argmax=1.5", "allowed is a number from 0 to 1"),
        ("szie=3", "did you mean 'size_kib'"),
        ("latency=3", "did you mean 'latency_ms'"),
        ("max_lbs=3", "did you mean 'max_lsb'"),
        ("qqqq=3", "no budget 'qqqq'; known: arena_kib"),
    ],
)
def test_a_wrong_line_is_told(line: str, told: str) -> None:
    with pytest.raises(RecipeError) as raised:
        read_budget([line])

    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_wrong_limit_of_a_file_names_the_file() -> None:
    with pytest.raises(RecipeError, match=r"^edgepress\.toml: no budget 'size'"):
        checked_budget({"size": 1.0}, "edgepress.toml")


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [(1.0, 2.0, "kept"), (1.0, 1.9, "kept"), (2.1, 3.0, "missed"), (1.9, 2.1, "not_shown"), (2.0, 2.1, "not_shown")],
)
def test_a_highest_value_is_judged_by_the_whole_interval(low: float, high: float, outcome: str) -> None:
    [line] = judge({"latency_ms": 2.0}, {"latency_ms": figure((low + high) / 2, low, high)})

    assert line.outcome == outcome


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.99, 1.0, "kept"), (0.9, 0.98, "missed"), (0.98, 1.0, "not_shown")]
)
def test_a_lowest_value_is_judged_the_other_way_round(low: float, high: float, outcome: str) -> None:
    [line] = judge({"min_argmax": 0.99}, {"min_argmax": figure((low + high) / 2, low, high)})

    assert line.outcome == outcome


def test_what_nobody_knows_is_not_shown_and_says_what_to_do() -> None:
    [line] = judge({"latency_ms": 2.0}, {})

    assert (line.outcome, line.value) == ("not_shown", None)
    assert "--device" in line.why


def test_a_figure_that_may_not_judge_does_not_even_where_it_is_good() -> None:
    [line] = judge({"latency_ms": 2.0}, {"latency_ms": figure(0.1, missing="the machine was busy")})

    assert (line.outcome, line.value, line.why) == ("not_shown", 0.1, "the machine was busy")


def test_each_line_that_is_not_kept_is_a_finding() -> None:
    limits = {"macs": 10.0, "size_kib": 1.0, "latency_ms": 2.0}
    findings = budget_findings(judge(limits, {"macs": figure(20), "size_kib": figure(0.5)}))

    assert [(each.code, each.severity, each.where) for each in findings] == [
        ("budget-not-shown", "warning", "latency_ms"),
        ("budget-missed", "error", "macs"),
    ]


def test_a_line_is_told_with_its_interval_and_its_limit() -> None:
    lines = judge({"latency_ms": 2.0, "macs": 1e6}, {"latency_ms": figure(1.5, 1.25, 1.75), "macs": figure(1234567)})

    assert [told(line) for line in lines] == [
        "1.5 [1.25, 1.75], limit at most 2: how",
        "1,234,567, limit at most 1,000,000: how",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (1.23456, "1.235"),
        (12345.6, "12,346"),
        (1234567.0, "1,234,567"),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_readable(value: float, shown: str) -> None:
    assert number(value) == shown


def test_every_limit_says_what_it_bounds_and_what_is_missing() -> None:
    assert all(limit.meaning and limit.missing for limit in LIMITS.values())
