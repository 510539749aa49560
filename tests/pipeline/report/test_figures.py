"""What the figures say is what the report holds."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.report import figures
from pipeline.report.layer_figures import layer_figures
from pipeline.report.model import Layers
from pipeline.report.reading import Run, Trials, read_trials
from pipeline.report.standing import standing
from tests.small_report import SEARCH, latency, report, row


def values(spec: Any) -> list[dict[str, Any]]:
    """Return every row of data in a chart."""
    if isinstance(spec, list):
        return [row for part in spec for row in values(part)]
    if not isinstance(spec, dict):
        return []
    own = spec["data"]["values"] if "data" in spec else []
    return [*own, *(row for key, part in spec.items() if key != "data" for row in values(part))]


def test_the_way_shows_each_form_with_its_owner() -> None:
    score, size, macs, timed = figures.way(report())

    owners = {each["name"]: each["role"] for each in values(score.spec)}
    assert owners == {
        "teacher wide": "reference",
        "teacher wide onnx": "reference",
        "distill": "network",
        "int8 onnx": "network",
        "int8 tflite": "network",
        "student alone": "control",
        "student alone, tflite by PTQ": "control",
    }
    assert ("int8 tflite", "0.9100 [0.8900, 0.9300]") in score.table.rows
    assert "Smallest 25.4 KiB (int8 onnx)" in size.says
    assert "student alone, tflite by PTQ" not in {line[0] for line in macs.table.rows}  # nobody counted it
    assert "fastest 0.09 ms (int8 tflite)" in timed.says


def test_a_way_on_which_nobody_counted_products_draws_none() -> None:
    counted = report()
    rows, controls = (
        tuple(each.model_copy(update={"macs": None}) for each in rows) for rows in (counted.rows, counted.controls)
    )

    drawn = figures.way(counted.model_copy(update={"rows": rows, "controls": controls}))
    assert [figure.title for figure in drawn][1:] == ["Size", "Latency on host"]


def test_the_target_s_own_latency_goes_before_the_host_s() -> None:
    own = latency("int8 tflite", 3.0, device="raspberry-pi-4")

    found = report(measurements=(latency("int8 tflite", 0.1), own))

    assert [figure.title for figure in figures.latencies(found)] == [
        "Latency on raspberry-pi-4, 1 thread",
        "Latency on host, 1 thread",
    ]
    assert next(figures.against(found)).title == "Accuracy against latency on raspberry-pi-4"
    assert [tile.value for tile in standing(found).tiles][-1] == "3 ms"


def test_without_latencies_score_stands_against_size_alone() -> None:
    assert [figure.title for figure in figures.against(report(measurements=()))] == ["Accuracy against size"]


def test_what_was_disturbed_is_faint_and_said() -> None:
    disturbed = latency("int8 tflite", 0.1, valid=False, why_invalid="the machine was busy")

    found = next(figures.against(report(measurements=(disturbed,))))

    assert {each["opacity"] for each in values(found.spec)} == {0.4}
    assert "1 of 1 figures are invalid, e.g. the machine was busy" in found.note


def test_a_histogram_s_columns_are_its_counts() -> None:
    found = next(figures.latencies(report(measurements=(latency("int8 tflite", 1.0),))))

    columns = [each for each in values(found.spec) if "share" in each]
    assert [each["share"] for each in columns] == [0.125, 1.0, 0.375, 0.05]
    assert found.says.endswith(" Over each median stand its samples; the slowest, 3 in all, lie beyond what is drawn.")


def test_layers_show_costs_times_and_where_forms_part() -> None:
    layers = report().layers
    assert isinstance(layers, Layers)
    macs, constants, times, agreement = layer_figures(layers)

    assert "500 k MACs in 2 operators; the most, 80%, in 1 CONV_2D" in macs.says
    assert constants.table.rows[1] == ("2", "MEAN", "mean", "8")
    assert times.table.rows[0] == ("1", "QLinearConv", "conv", "80", "80.0%")
    assert agreement.says == "First to differ: torch and TFLite at CONV_2D."


def test_a_search_beside_the_run_marks_its_front_and_its_choice(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text(SEARCH)
    trials = read_trials(tmp_path)
    assert isinstance(trials, Trials)

    found = figures.search(trials, "pixel-8")

    assert found is not None
    assert [line[0] for line in found.table.rows] == ["0, on the front", "1, chosen"]
    assert {each["name"]: each["shape"] for each in values(found.spec) if "shape" in each} == {
        "0, on the front": "triangle-up",
        "1, chosen": "circle",
    }
    assert figures.search(trials, "raspberry-pi-4") is None


def test_runs_stand_side_by_side_by_target() -> None:
    other = report(rows=(row("int8 tflite", 0.95, 1024, None),))

    score, size = figures.side_by_side([Run(Path("a"), (report(),)), Run(Path("b"), (other,))])

    assert [each[0] for each in score.table.rows] == ["A: distill", "A: int8 onnx", "A: int8 tflite", "B: int8 tflite"]
    assert size.table.rows[-1] == ("B: int8 tflite", "1.0 KiB")


def test_a_failed_gate_is_missed_whatever_the_budget_says() -> None:
    gate = report().fidelity
    assert gate is not None
    failed = report(fidelity=gate.model_copy(update={"passed": False, "why_failed": ("scales differ",)}), verdicts=())

    assert (standing(failed).word, standing(failed).failed) == ("missed", "scales differ")
    assert standing(report(verdicts=())).word == "no promise"


@pytest.mark.parametrize(
    ("count", "shown"), [(640, "640"), (1_234, "1.23 k"), (1_886_944, "1.89 M"), (3.1e7, "31 M"), (2e9, "2 G")]
)
def test_large_counts_keep_three_figures(count: float, shown: str) -> None:
    assert figures.shortened(count) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(8, "8 B"), (27_310, "26.7 KiB"), (2**21, "2.00 MiB"), (2**33, "8.00 GiB")]
)
def test_sizes_have_a_unit_that_fits(count: float, shown: str) -> None:
    assert figures.in_bytes(count) == shown
