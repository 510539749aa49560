"""Runs of a whole recipe that are killed end with the bytes of a run in peace; see tests/evidence/kills."""

import pytest

from tests.study import study


def test_a_kill_in_each_training_stage_changes_no_byte() -> None:
    found = study("kills.run", "--kills", "1", "--seed", "1")

    assert [kill["step"] for kill in found["kills"]] == ["teach:wide", "distill", "prune", "quantize"]
    assert {"quantize", "quantize.test"} <= set(found["steps"])
    assert [name for name, step in found["steps"].items() if step["peace"] != step["fire"]] == []
    assert "missing" not in {step["fire"] for step in found["steps"].values()}


@pytest.mark.slow
def test_twenty_kills_change_no_byte_of_both_files() -> None:
    found = study("kills.run", "--kills", "5", "--export")

    assert len(found["kills"]) == 20
    assert {"quantize.onnx", "quantize.tflite"} <= set(found["steps"])
    assert [name for name, step in found["steps"].items() if step["peace"] != step["fire"]] == []
