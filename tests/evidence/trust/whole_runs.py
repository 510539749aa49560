"""A whole run as a process of its own, for studies that harm it: its recipe, its command line, and what it must have left in the end."""

import json
import os
import sys
from pathlib import Path

from pipeline.artifact import digest_of
from pipeline.store import Store

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
ROOT = Path(__file__).parents[3]
TARGET = "raspberry-pi-4"
FILES = ("model.onnx", "model.tflite")
TASK = "from tests.small_task import Bars\n\ntask = Bars(samples=60)\n"
RECIPE = """
schema = 1
name = "bars"
task = "task.py:task"
targets = ["raspberry-pi-4"]
stages = ["teach", "distill", "prune", "quantize", "export"]
controls = false
measure = false
[teach]
epochs = {epochs}
batch_size = 16
checkpoint_steps = 2
[audit]
on_weak = "skip"
[distill]
epochs = {epochs}
batch_size = 16
checkpoint_steps = 2
[prune]
epochs = {epochs}
batch_size = 16
checkpoint_steps = 2
channel_multiple = 1
largest_drop = 0.99
[quantize]
epochs = {epochs}
batch_size = 16
checkpoint_steps = 2
"""


def write(folder: Path, *, epochs: int) -> None:
    """Write the recipe and its task."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(TASK, encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE.format(epochs=epochs), encoding="utf-8")


def command(folder: Path, out: Path, *options: str) -> list[str]:
    """Return the command line of a run."""
    return [EDGEPRESS, "run", str(folder / "recipe.toml"), "--out", str(out), *options]


def environment(store: Path) -> dict[str, str]:
    """Return what a run finds in its environment."""
    return {**os.environ, "EDGEPRESS_STORE": str(store), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def corrupt(root: Path) -> list[str]:
    """Return what of a store is not what its name says, every byte read; an unfinished draft is nothing yet."""
    store = Store(root)
    objects = [path for path in (root / "objects").iterdir() if not path.name.startswith(("draft-", "."))]
    records = list((root / "runs").glob("*.json"))
    wrong = [path.name for path in objects if digest_of(path) != path.name]
    return wrong + [path.name for path in records if store.record(path.stem) is None or store.find(path.stem) is None]


def digests(root: Path, out: Path) -> dict[str, str]:
    """Return the digest of everything that was made, by its key, and what was delivered, in hexadecimal."""
    store = Store(root)
    records = [store.record(path.stem) for path in (root / "runs").glob("*.json")]
    made = {record.key: record.digest for record in records if record}
    return {**made, **{name: (out / TARGET / name).read_bytes().hex() for name in FILES}}


def half_written(out: Path) -> bool:
    """Say whether a folder holds some of what a run delivers, and not all of it: a report beside the files that it tells of."""
    folder = out / TARGET
    if not [*folder.glob("[!.]*")]:
        return False
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return not report["rows"] or not all((folder / name).stat().st_size for name in FILES)
    except (FileNotFoundError, ValueError):
        return True
