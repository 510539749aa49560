"""Runs of a whole recipe that are killed end with the bytes of a run in peace; see tests/evidence/kills."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def study(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.evidence.kills.run", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_a_kill_in_each_training_stage_changes_no_byte() -> None:
    found = study("--kills", "1", "--seed", "1")

    assert [kill["step"] for kill in found["kills"]] == ["teach:wide", "distill", "prune", "quantize"]
    assert {"quantize", "quantize.test"} <= set(found["steps"])
    assert [name for name, step in found["steps"].items() if step["peace"] != step["fire"]] == []
    assert "missing" not in {step["fire"] for step in found["steps"].values()}


@pytest.mark.slow
def test_twenty_kills_change_no_byte_of_both_files() -> None:
    found = study("--kills", "5", "--export")

    assert len(found["kills"]) == 20
    assert {"quantize.onnx", "quantize.tflite"} <= set(found["steps"])
    assert [name for name, step in found["steps"].items() if step["peace"] != step["fire"]] == []
