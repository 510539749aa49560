"""A search that takes a minute: bars told apart by a net of 32 channels, for a microcontroller; as a folder and a command line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
ROOT = Path(__file__).parents[1]

TASK = """
from tests.small_task import Bars, Net


class Wide(Bars):
    def student(self):
        return Net(32)


task = Wide(samples=120)
"""
RECIPE = """
schema = 1
name = "bars"
task = "task.py:task"
targets = ["corstone-300"]
controls = false
measure = false
[budget]
max_drop = {max_drop}
size_kib = {size_kib}
[fit]
trials = 2
batch = 2
[fit.space]
"prune.keep_macs" = [0.3]
"distill.learning_rate" = [0.004]
"distill.temperature" = [4.0]
[teach]
epochs = 4
batch_size = 16
[distill]
epochs = 3
batch_size = 16
[prune]
epochs = 2
batch_size = 16
channel_multiple = 4
[quantize]
epochs = 1
batch_size = 16
"""


SEVERAL = """
"prune.keep_macs" = [0.3, 0.7]
"quantize.epochs" = [1, 2]
"""
"""In the place of one value for what is kept: a space of nine points."""


def write(folder: Path, *, several: int = 0, **budget: float) -> None:
    """Write task and recipe; `several` are the trials of a space with more than one point."""
    recipe = RECIPE.format(**budget)
    if several:
        recipe = recipe.replace('"prune.keep_macs" = [0.3]\n', SEVERAL.lstrip())
        recipe = recipe.replace("trials = 2", f"trials = {several}\npatience = {several}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(TASK, encoding="utf-8")
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")


def command(*options: str) -> list[str]:
    return [EDGEPRESS, "fit", "recipe.toml", "--out", "out", *options]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "EDGEPRESS_STORE": str(folder / "store"), "PYTHONPATH": str(ROOT)}


def fit(folder: Path, *options: str, seconds: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a search to its end."""
    return subprocess.run(
        command(*options),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def found(folder: Path) -> dict[str, Any]:
    """Return what a search found, without what it took."""
    told: dict[str, Any] = json.loads((folder / "out" / "fit.json").read_text(encoding="utf-8"))
    for trial in told["trials"]:
        del trial["seconds"], trial["shared_seconds"]
    del told["ledger"]
    return told
