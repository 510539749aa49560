"""A run whose steps several workers make: the same artifacts, what two targets share made once, and an audit that still stops it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipeline.ahead import waves
from pipeline.api import load, plans_of

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
ROOT = Path(__file__).parents[2]
RECIPE = """
schema = 1
name = "bars"
task = "task.py:task"
targets = ["corstone-300", "raspberry-pi-4"]
stages = ["teach", "distill"]
measure = false
[ledger]
country = "DEU"
[teach]
epochs = 1
batch_size = 16
[audit]
on_weak = "{on_weak}"
probe_steps = 4
[distill]
epochs = 1
batch_size = 16
"""


def folder_of(path: Path, *, on_weak: str = "warn") -> Path:
    (path / "task.py").write_text("from tests.small_task import Bars\n\ntask = Bars()\n", encoding="utf-8")
    (path / "recipe.toml").write_text(RECIPE.format(on_weak=on_weak), encoding="utf-8")
    return path


def run(folder: Path, store: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGEPRESS, "run", "recipe.toml", "--out", f"out-{store}", *options],
        cwd=folder,
        env={**os.environ, "EDGEPRESS_STORE": str(folder / store), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def made(folder: Path, store: str) -> dict[str, str]:
    """Return the digest of everything that a store holds, by its key."""
    records = (json.loads(path.read_text(encoding="utf-8")) for path in (folder / store / "runs").glob("*.json"))
    return {record["key"]: record["digest"] for record in records}


def test_two_workers_make_what_one_process_makes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, on_weak="skip")
    alone, together = run(folder, "alone"), run(folder, "together", "--workers", "2")

    assert together.returncode == alone.returncode == 0, together.stderr
    assert "3 steps on 2 workers: teach:wide, teach:wider, alone" in together.stderr
    assert made(folder, "together") == made(folder, "alone")
    steps = _steps(folder / "out-together")
    assert steps == _steps(folder / "out-alone")
    ledgers = [_ledger(folder / "out-together" / target) for target in steps]
    assert sum(each["steps"] for each in ledgers) == len(made(folder, "together"))
    assert all(each["energy_wh"] > 0 for each in ledgers)
    assert all("this machine" in each["how"] for each in ledgers if each["steps"])


def _ledger(folder: Path) -> dict[str, Any]:
    made_now: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))["ledger"]["made"]
    return made_now


def _steps(out: Path) -> dict[str, Any]:
    manifests = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*/manifest.json")}
    return {target: manifest["steps"] for target, manifest in manifests.items()}


def test_an_audit_stops_before_the_others_are_made(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, on_weak="stop")
    ended = run(folder, "store", "--workers", "2")

    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("or go on with on_weak = 'warn' in [audit]")
    assert "distill" not in ended.stderr.partition("on 2 workers: audit")[2]


def test_a_wave_holds_what_is_ready_and_nothing_twice(tmp_path: Path) -> None:
    recipe, task = load(folder_of(tmp_path) / "recipe.toml", settings=[], targets=[])
    plans = plans_of(recipe, task)
    shared, own = list(waves(plans, alike=True)), list(waves(plans, alike=False))

    assert [step.name for _, step in shared[0]] == ["teach:wide", "teach:wider", "alone"]
    assert len([step for wave in own for step in wave]) == 2 * len([step for wave in shared for step in wave])
    for _, plan in plans:
        ready: set[str] = set()
        for wave in own:
            assert all(set(step.inputs.values()) <= ready for _, step in wave)
            ready |= {step.name for target, step in wave if target == plans[0][0]}
        assert {step.name for step in plan.steps} == ready
