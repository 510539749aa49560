"""What `check` said of files that others made, as tests/evidence/foreign_models keeps it."""

import json
from pathlib import Path

import tests.evidence.foreign_models

RESULTS = Path(next(iter(tests.evidence.foreign_models.__path__))) / "results.json"


def test_nothing_that_was_said_of_a_stranger_s_file_is_wrong() -> None:
    found = json.loads(RESULTS.read_text())

    assert len(found) >= 12
    assert {Path(each["file"]).suffix for each in found} == {".onnx", ".tflite"}
    assert [each["file"] for each in found if each["wrong"]] == []


def test_sound_files_that_people_use_are_told_no_error() -> None:
    found = json.loads(RESULTS.read_text())

    alarmed = [each["file"] for each in found if any(said.startswith("error") for said in each["said"])]
    assert alarmed == [each["file"] for each in found if each["true"]["flex"]]
