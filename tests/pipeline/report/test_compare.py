"""A comparison names what differs, settings first and exactly, and says of each figure how much it differs and whether that is shown."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.report.compare import Comparison, compare, difference, flat
from pipeline.report.html import comparison_page
from pipeline.report.model import Interval, Report
from pipeline.report.reading import Run
from tests.small_report import FORMS, latency, report, reproduction, row


def runs(*reports: Report) -> Comparison:
    return compare([Run(Path(f"run-{number}"), (each,)) for number, each in enumerate(reports)])


def better(by: float) -> tuple[object, ...]:
    return tuple(row(name, score + by, size - 1024, macs) for name, score, size, macs in FORMS)


def test_the_setting_that_differs_is_named_first_and_exactly() -> None:
    changed = report(reproduction=reproduction(temperature=2.0), toolchain={"edgepress": "0.2.0", "torch": "2.13.0"})

    found = runs(report(), changed)

    assert found.changes == ("distill.temperature: 4.0 -> 2.0", "edgepress: 0.1.0 -> 0.2.0")


def test_of_three_runs_each_value_is_told() -> None:
    found = runs(
        report(), report(reproduction=reproduction(temperature=2.0)), report(reproduction=reproduction(peers=1))
    )

    assert found.changes == ("distill.temperature: 4.0 -> 2.0 -> 4.0", "distill.peers: not set -> not set -> 1")


def test_equal_runs_differ_in_nothing() -> None:
    found = runs(report(), report())

    assert found.changes == ()
    [effect] = found.effects
    assert effect == (
        "raspberry-pi-4, int8 tflite, A to B: accuracy 0.9100 to 0.9100, the same bytes; size 26.4 to 26.4 KiB; "
        "latency on host 0.09 to 0.09 ms (+0.0000 [-0.0064, +0.0064]: no difference shown)"
    )


def test_other_data_is_told_before_versions() -> None:
    other = reproduction()
    changed = report(reproduction=other.model_copy(update={"task": {**other.task, "data.test": "f" * 64}}))

    assert runs(report(), changed).changes == ("task's data.test: aaaaaaaaaaaa -> ffffffffffff",)


def test_figures_stand_side_by_side_with_their_differences() -> None:
    found = runs(report(), report(rows=better(0.05)))
    score, size = found.sheets[0], found.sheets[1]

    assert score.columns == ("form", "A", "B", "B - A [95 %]")
    assert score.rows[4] == (
        "int8 tflite",
        "0.9100 [0.8900, 0.9300]",
        "0.9600 [0.9400, 0.9800]",
        "+0.0500 [+0.0217, +0.0783]",
    )
    assert size.rows[4] == ("int8 tflite", "26.4", "25.4", "-1.0")
    assert [sheet.title for sheet in found.sheets] == [
        f"raspberry-pi-4: {what}" for what in ("accuracy", "size, KiB", "latency", "budget")
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"valid": False, "why_invalid": "busy"}, "not comparable: invalid"),
        ({"machine": "another"}, "not comparable: another machine"),
        ({"runtime": "litert 3"}, "not comparable: another runtime"),
        ({"value": 0.2, "low": 0.19, "high": 0.21}, "+0.1100 [+0.0990, +0.1210]"),
    ],
)
def test_latencies_are_compared_only_where_they_can_be(changes: dict[str, object], said: str) -> None:
    found = runs(report(), report(measurements=(latency("int8 onnx", 0.1), latency("int8 tflite", 0.1, **changes))))
    timed = next(sheet for sheet in found.sheets if sheet.title.endswith("latency"))

    assert next(line[-1] for line in timed.rows if line[0] == "int8 tflite") == said


def test_runs_of_an_older_version_say_so() -> None:
    [change] = runs(report(), report(reproduction=None)).settings[-1:]

    assert change == ("settings", "not set", "not told: the run is of an older version")


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = []
    for _ in range(1000):
        means = random.normal(0, 1, 2)
        one, other = (Interval(value=mean, low=mean - 1.96, high=mean + 1.96) for mean in means)
        found = difference(one, other)
        covered.append(found.low <= 0 <= found.high)

    assert 0.93 < np.mean(covered) < 0.97


def test_nested_settings_have_dotted_names() -> None:
    assert flat({"a": {"b": {"c": [1, "x"]}, "d": {}}}) == {"a.b.c": '[1, "x"]', "a.d": "{}"}


def test_its_page_names_the_setting() -> None:
    text = comparison_page(runs(report(), report(reproduction=reproduction(temperature=2.0))))

    assert "<code>distill.temperature</code>" in text
    assert "What it did" in text
