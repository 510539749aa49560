"""`edgepress init`: a task and a recipe that work, to start from. The files are ordinary source: read them, change them."""

from pathlib import Path

from pipeline.errors import RecipeError

TASK = '''"""A small task of one's own: which of four quarters of a picture is brightest? Replace each part by yours."""

import numpy as np
import torch
from pipeline import Metric, Splits, Teacher
from torch import nn


class Pictures:
    """A map-style dataset of (input, target): float32 pictures [1, 16, 16] and the index of the brightest quarter."""

    def __init__(self, seed: int, count: int) -> None:
        random = np.random.default_rng(seed)
        self.targets = random.integers(0, 4, count)
        self.inputs = random.normal(0, 1, (count, 1, 16, 16)).astype(np.float32)
        for picture, target in zip(self.inputs, self.targets, strict=True):
            row, column = divmod(int(target), 2)
            picture[0, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 0.5

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.inputs[index]), int(self.targets[index])


def network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * width, 4),
    )


class BrightestQuarter:
    name = "brightest-quarter"
    metric = Metric("accuracy")
    labels = ["top left", "top right", "bottom left", "bottom right"]

    def data(self) -> Splits:
        return Splits(train=Pictures(0, 1000), validation=Pictures(1, 300), test=Pictures(2, 1000))

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(network=lambda: network(64))}

    def student(self) -> nn.Module:
        return network(32)

    def score(self, outputs, targets) -> float:
        return float((outputs.argmax(1) == targets).mean())


task = BrightestQuarter()
'''

RECIPE = """schema = 1
name = "brightest-quarter"
task = "task.py:task"          # the file beside this one, and the object in it
seed = 0
targets = ["raspberry-pi-4"]   # `edgepress targets` lists them
stages = ["teach", "distill", "prune", "quantize", "export"]

[budget]                       # every line becomes a verdict of the report
max_drop = 0.02                # below the teacher, in the task's metric
size_kib = 32

[teach]
epochs = 4
[audit]                        # before they teach, teachers are judged; without this line a weak one stops the run
on_weak = "warn"               # this one is no better than the student: the task is that easy
probe_steps = 50
[distill]
epochs = 4
[prune]
epochs = 4
keep_macs = 0.5
[quantize]
epochs = 2
"""


def write_starter(folder: Path) -> tuple[Path, ...]:
    """Write task.py and recipe.toml into a folder, which is made; RecipeError where either is there already, or can't be written."""
    files = {folder / "task.py": TASK, folder / "recipe.toml": RECIPE}
    try:
        for path in files:
            if path.exists():
                raise RecipeError(f"{path} is there already; name another folder, or move it away")
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            f"can't write a starter into {folder} ({error.strerror}); name a new folder, or an empty one that you may write"
        ) from error
    return tuple(files)
