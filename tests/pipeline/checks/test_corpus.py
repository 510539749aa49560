"""Every broken export is found by its code, and sound ones are left in peace."""

from pathlib import Path

import pytest

from pipeline.checks.codes import CODES
from pipeline.checks.lints import Promises
from targets import known_targets, load_target
from tests.pipeline.checks.broken_exports import BROKEN
from tests.pipeline.checks.corpus import Broken
from tests.pipeline.checks.examined_here import findings_here
from tests.small_files import write_float_onnx, write_float_tflite, write_onnx, write_tflite


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_a_broken_export_is_found_by_its_code_and_by_nothing_else(broken: Broken, tmp_path: Path) -> None:
    path = broken.build(tmp_path)
    target = broken.target(tmp_path) if broken.target else None

    found = findings_here(path, target, broken.promises)

    assert broken.severity in {finding.severity for finding in found if finding.code == broken.code}, found
    assert {finding.code for finding in found if finding.severity != "note"} <= {broken.code, *broken.also}
    assert all(finding.message and finding.why and finding.fix for finding in found)


def test_the_corpus_breaks_one_file_for_every_code() -> None:
    assert {broken.code for broken in BROKEN} == set(CODES)
    assert len(BROKEN) >= 30


@pytest.mark.parametrize("write", [write_onnx, write_tflite, write_float_onnx, write_float_tflite])
def test_a_sound_file_raises_no_alarm_where_no_target_is_named(write: object, tmp_path: Path) -> None:
    path = write(tmp_path / "model")  # type: ignore[operator]  # each writer takes a path

    assert [finding for finding in findings_here(path) if finding.severity != "note"] == []


@pytest.mark.parametrize("name", known_targets())
def test_a_sound_int8_file_raises_no_alarm_on_any_target_that_runs_its_format(name: str, tmp_path: Path) -> None:
    target = load_target(name)
    formats = {runtime.format for runtime in target.runtimes}
    paths = [
        write(tmp_path / f"model.{form}")
        for form, write in (("onnx", write_onnx), ("tflite", write_tflite))
        if form in formats
    ]

    assert paths
    for path in paths:
        assert [finding for finding in findings_here(path, target) if finding.severity != "note"] == []


def test_promises_that_are_kept_raise_no_alarm(tmp_path: Path) -> None:
    onnx = Promises(int8="all", input_type="float32", output_type="float32", dynamic_batch=True)
    tflite = Promises(int8="all", input_type="int8", output_type="int8", dynamic_batch=False)

    assert {finding.severity for finding in findings_here(write_onnx(tmp_path / "m.onnx"), None, onnx)} <= {"note"}
    assert findings_here(write_tflite(tmp_path / "m.tflite"), None, tflite) == []
