"""A baseline is read strictly, written whole, and says line by line what changed."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RecipeError, StoreError
from pipeline.gate.baseline import TOLERANCE_PERCENT, Agreed, Baseline, Entry, entry_of, read_baseline, write_baseline
from pipeline.gate.changes import compare
from pipeline.gate.verdict import Check
from tests.small_gate import check, measurement

FACTS: dict[str, Any] = {
    "size_bytes": 10_240,
    "macs": 1000,
    "peak_activation_bytes": 4096,
    "operators": {"CONV_2D": 2, "MEAN": 1},
    "float_operators": 0,
    "inputs": [{"name": "x", "dtype": "int8", "shape": [1, 4, 4, 2]}],
    "outputs": [{"name": "y", "dtype": "int8", "shape": [None, 3]}],
    "quantization_sha256": "aa",
    "loads": {"ok": True, "runtime": "litert", "version": "2.3.0"},
}
BASELINE = Baseline(schema=1)
COUNTS: dict[str, Any] = {"unit": "instructions", "label": "emulated", "device": "qemu", "low": 1e6, "high": 1e6}


def small(*, agreement: dict[str, Any] | None = None, form: str = "tflite", **changes: Any) -> Entry:
    measurements = changes.pop("measurements", ())
    entry = entry_of(check(facts=FACTS | changes, format=form, measurements=measurements))
    return entry if agreement is None else entry.model_copy(update={"agreement": Agreed(**agreement)})


def found(old: Entry, new: Entry, baseline: Baseline = BASELINE) -> list[tuple[str, str | None, str | None]]:
    """Return (direction, code, severity) of each difference."""
    return [
        (
            each.change.direction,
            each.finding.code if each.finding else None,
            each.finding.severity if each.finding else None,
        )
        for each in compare(old, new, baseline)
    ]


def with_entry(more: str) -> str:
    return f'{{"schema": 1, "models": {{"m": {{"format": "onnx", "size_bytes": 1, {more}}}}}}}'


def test_nothing_changed_is_no_difference() -> None:
    assert compare(small(), small(), BASELINE) == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"size_bytes": 10_343}, ("worse", "baseline-size", "error")),
        ({"size_bytes": 10_300}, ("changed", None, None)),
        ({"size_bytes": 9000}, ("better", None, None)),
        ({"macs": 1001}, ("worse", "baseline-macs", "error")),
        ({"peak_activation_bytes": 4097}, ("worse", "baseline-memory", "error")),
        ({"float_operators": 1}, ("worse", "baseline-float", "error")),
        ({"operators": {"CONV_2D": 3, "MEAN": 1}}, ("changed", "baseline-operators", "warning")),
        ({"operators": {"CONV_2D": 2}}, ("changed", "baseline-operators", "warning")),
        ({"inputs": [FACTS["inputs"][0] | {"dtype": "float32"}]}, ("changed", "baseline-signature", "error")),
        ({"outputs": []}, ("changed", "baseline-signature", "error")),
        ({"quantization_sha256": "bb"}, ("changed", "baseline-quantisation", "note")),
        ({"quantization_sha256": None}, ("changed", "baseline-quantisation", "note")),
    ],
)
def test_each_change_has_its_code(changes: dict[str, Any], expected: tuple[str, str | None, str | None]) -> None:
    assert found(small(), small(**changes)) == [expected]


def test_what_was_not_known_before_is_no_change() -> None:
    assert found(small(macs=None), small()) == []
    assert found(small(), small(macs=None)) == []


def test_operators_that_another_runtime_fused_are_not_comparable() -> None:
    newer = {"ok": True, "runtime": "onnxruntime", "version": "1.32.0"}
    older = newer | {"version": "1.31.1"}
    old, new = (
        small(form="onnx", loads=loads, operators=operators, peak_activation_bytes=peak)
        for loads, operators, peak in ((older, {"QLinearConv": 2}, 10), (newer, {"QLinearConv": 1}, 20))
    )

    assert found(old, new) == [("not comparable", "baseline-incomparable", "note")]


def test_a_tolerance_of_the_file_counts() -> None:
    wide = Baseline(schema=1, tolerance_percent={"size_bytes": 50.0})

    assert found(small(), small(size_bytes=15_000), wide) == [("changed", None, None)]


def test_counts_are_compared_within_half_a_percent() -> None:
    old, close, far, fewer = (
        small(measurements=(measurement("instructions", value, **COUNTS),)) for value in (1e6, 1.004e6, 1.006e6, 0.9e6)
    )

    assert found(old, close) == [("changed", None, None)]
    assert found(old, far) == [("worse", "baseline-count", "error")]
    assert found(old, fewer) == [("better", None, None)]


def test_counts_of_one_class_are_told_and_no_regression() -> None:
    old, new = (small(measurements=(measurement("instructions.dot_product", value, **COUNTS),)) for value in (7e5, 0.0))

    assert found(old, new) == [("changed", None, None)]


def test_figures_of_another_runtime_are_not_comparable() -> None:
    old, new = (
        small(measurements=(measurement("instructions", value, runtime_version=version, **COUNTS),))
        for value, version in ((1e6, "2.3.0"), (2e6, "2.4.0"))
    )
    [difference] = compare(old, new, BASELINE)

    assert difference.change.direction == "not comparable"
    assert difference.change.told == "runtime litert 2.3.0 -> litert 2.4.0"
    assert found(old, new) == [("not comparable", "baseline-incomparable", "note")]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1950.0, 2500.0, ("changed", None, None)),
        (2250.0, 2500.0, ("worse", "baseline-latency", "error")),
        (1000.0, 1800.0, ("better", None, None)),
    ],
)
def test_a_latency_is_worse_only_beyond_the_old_interval(low: float, high: float, expected: Any) -> None:
    old, new = (
        small(measurements=(measurement(value=value, low=bottom, high=top),))
        for value, bottom, top in ((2000.0, 1900.0, 2100.0), ((low + high) / 2, low, high))
    )

    assert found(old, new) == [expected]


def test_an_invalid_measurement_never_enters_a_baseline() -> None:
    assert small(measurements=(measurement(valid=False, why_invalid="busy"),)).measurements == {}


def test_accuracy_is_compared_on_the_same_samples_alone() -> None:
    old = small(agreement={"samples_sha256": "a", "accuracy": 0.95, "argmax_agreement": 1.0})
    lower = small(agreement={"samples_sha256": "a", "accuracy": 0.94, "argmax_agreement": 1.0})
    within = small(agreement={"samples_sha256": "a", "accuracy": 0.949, "argmax_agreement": 1.0})
    other = small(agreement={"samples_sha256": "b", "accuracy": 0.5, "argmax_agreement": 0.5})

    assert found(old, lower) == [("worse", "baseline-accuracy", "error")]
    assert found(old, within) == [("changed", None, None)]
    assert found(old, other) == [("not comparable", "baseline-incomparable", "note")]


def test_a_change_is_told_with_both_figures_and_percent() -> None:
    [difference] = compare(small(), small(size_bytes=12_288), BASELINE)

    assert difference.change.told == "10 -> 12 KiB, +20.0 %"
    assert difference.finding is not None
    assert difference.finding.message == "size: 10 -> 12 KiB, +20.0 %; tolerated is 1 %"


# The file


def test_a_baseline_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "baseline.json"
    entry = small(measurements=(measurement(),), agreement={"samples_sha256": "a", "accuracy": 1.0, "max_lsb": 2.5})

    assert write_baseline(path, None, {"m.tflite": entry})
    assert read_baseline(path).models == {"m.tflite": entry}
    assert compare(read_baseline(path).models["m.tflite"], entry, BASELINE) == ()


def test_a_baseline_is_sorted_and_the_same_bytes_twice(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    write_baseline(path, None, {"b": small(), "a": small()})
    before = path.read_bytes()
    again = write_baseline(path, read_baseline(path), {"a": small()})

    assert not again
    assert path.read_bytes() == before
    assert list(json.loads(before)["models"]) == ["a", "b"]
    assert before.endswith(b"}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["baseline.json"]


def test_an_update_keeps_other_models_tolerances_and_other_devices(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    ours, theirs = measurement(), measurement(device="other")
    write_baseline(path, None, {"kept": small(), "m": small(measurements=(ours, theirs))})
    edited = read_baseline(path).model_copy(update={"tolerance_percent": {"macs": 3.0}})
    write_baseline(path, edited, {"m": small(size_bytes=99, measurements=(ours,))})
    after = read_baseline(path)

    assert set(after.models) == {"kept", "m"}
    assert after.models["m"].size_bytes == 99
    assert len(after.models["m"].measurements) == 2
    assert after.tolerance_percent == {**TOLERANCE_PERCENT, "macs": 3.0}


def test_a_baseline_can_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_baseline(tmp_path / "baseline.json", None, {})
    finally:
        os.umask(mask)

    assert stat.S_IMODE((tmp_path / "baseline.json").stat().st_mode) == 0o640


def test_a_place_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").mkdir()

    with pytest.raises(StoreError, match="can't write"):
        write_baseline(tmp_path / "baseline.json", None, {})
    assert [file.name for file in tmp_path.iterdir()] == ["baseline.json"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "JSON"),
        ("[]", "baseline"),
        ('{"models": {}}', "key 'schema' is missing"),
        ('{"schema": 2}', "has schema 2; this version reads 1"),
        ('{"schema": 1, "model": {}}', "unknown key 'model'; did you mean 'models'?"),
        ('{"schema": 1, "models": {"m": {"format": "onnx"}}}', "models.m.size_bytes"),
        ('{"schema": 1, "models": {"m": {"format": "onnx", "size_bytes": -1}}}', "models.m.size_bytes"),
        ('{"schema": 1, "tolerance_percent": {"size": 1}}', "no tolerance 'size'; known: size_bytes"),
        ('{"schema": 1, "tolerance_percent": {"macs": NaN}}', "tolerance_percent.macs"),
        ('{"schema": 1, "tolerance_percent": {"macs": Infinity}}', "tolerance_percent.macs"),
        ('{"schema": 1, "tolerance_percent": {"macs": -1}}', "tolerance_percent.macs"),
        (f'{{"schema": 1, "models": {{"m": {{"format": "onnx", "size_bytes": 1{"0" * 400}}}}}}}', "models.m.size_bytes"),
        (with_entry(f'"macs": 1{"0" * 400}'), "models.m.macs"),
        (with_entry('"macs": -5'), "models.m.macs"),
        (with_entry('"agreement": {"samples_sha256": "a", "accuracy": NaN}'), "models.m.agreement.accuracy"),
        (with_entry('"measurements": {"n": {"low": 1, "high": 1, "unit": "us", "label": "measured", "runtime": "r", "machine": "m"}}'), "models.m.measurements.n.value"),
        (with_entry('"measurements": {"n": {"value": "x", "low": 1, "high": 1, "unit": "us", "label": "measured", "runtime": "r", "machine": "m"}}'), "models.m.measurements.n.value"),
        ("[" * 100_000, "baseline"),
    ],
)  # fmt: skip
def test_a_wrong_baseline_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(RecipeError) as raised:
        read_baseline(path)

    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_baseline_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="make it with --update-baseline"):
        read_baseline(tmp_path / "none.json")


def test_a_check_keeps_the_place_of_its_target_in_a_measurement_s_name() -> None:
    one = replace(check(), facts=FACTS, measurements=(measurement(),))
    other = replace(one, target=None)

    assert [list(entry_of(each).measurements) for each in (one, other)] == [
        ["board for pixel-8, latency, 1 thread"],
        ["board, latency, 1 thread"],
    ]
    assert isinstance(one, Check)
