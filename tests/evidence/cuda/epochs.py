"""How long an epoch takes on the processor and on the accelerator: the recipe's networks, and larger ones on data made up.

Seconds between the ends of two epochs, judging included; of EPOCHS the median, so that the first one's warming up doesn't count.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from pipeline.networks.resnet import resnet20
from pipeline.networks.transformer import text_encoder
from pipeline.task import LoadedTask, Metric, Splits
from pipeline.training import TrainingConfig, train
from tests.evidence.cuda.chain import digits, silent

EPOCHS = 3
ENDS = (0, 640, 704, 706)
"""Numbers of the samples made up: where the three splits begin, and the end."""
WAYS: Mapping[str, Mapping[str, Any]] = {
    "cpu, 1 thread": {"accelerator": "cpu", "threads": 1},
    "cpu, 16 threads": {"accelerator": "cpu", "threads": 16},
    "cuda, 32-true": {"accelerator": "cuda"},
    "cuda, bf16-mixed": {"accelerator": "cuda", "precision": "bf16-mixed"},
}


class Made:
    """Data made up: what matters is its size."""

    metric = Metric("accuracy")

    def __init__(self, name: str, network: Any, sample: Any, ends: tuple[int, ...]) -> None:
        self.name, self.network, self.sample, self.ends = name, network, sample, ends

    def data(self) -> Splits:
        train, validation, test = (
            [(self.sample(number), number % 10) for number in numbers]
            for numbers in map(range, self.ends, self.ends[1:])
        )
        return Splits(train=train, validation=validation, test=test)

    def student(self) -> nn.Module:
        network: nn.Module = self.network()
        return network

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets).mean())


def _picture(number: int) -> Any:
    return torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(number)).numpy()


def _text(number: int) -> Any:
    ids = torch.randint(1, 30_000, (64,), generator=torch.Generator().manual_seed(number))
    return ids.numpy(), torch.ones(64, dtype=torch.int64).numpy()


def tasks() -> dict[str, tuple[LoadedTask, Any, int]]:
    """Return by name the task, its network and the size of a batch."""
    small = digits(0)
    wide = LoadedTask(
        raw=Made("wide", lambda: resnet20(widths=(64, 128, 256), in_channels=3), _picture, ENDS), root=Path.cwd()
    )
    sizes = {"vocabulary": 30_000, "width": 384, "heads": 12, "depth": 6, "feed_forward": 1536, "length": 64}
    text = LoadedTask(raw=Made("text", lambda: text_encoder(**sizes, classes=10), _text, ENDS), root=Path.cwd())
    return {
        "digits, student DS-CNN": (small, small.student, 64),
        "digits, teacher ResNet-20": (small, lambda: small.teacher("resnet20"), 64),
        "ResNet-20 four times as wide, 640 pictures 3x32x32": (wide, wide.student, 128),
        "transformer of MiniLM's size, 640 texts of 64 tokens": (text, text.student, 128),
    }


def epoch_seconds(accelerator: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Give each network's name with the median seconds of its epochs, by way."""
    for name, (task, network, batch) in tasks().items():
        found = {}
        for way, settings in WAYS.items():
            if settings["accelerator"] in ("cpu", accelerator) and not ("1 thread" in way and "digits" not in name):
                own = TrainingConfig(epochs=EPOCHS, batch_size=batch, **settings)
                found[way] = median(_epochs(network(), task, own))
                print(f"{name}, {way}: {found[way]:.3f} s", flush=True)
        yield name, found


def _epochs(module: nn.Module, task: LoadedTask, config: TrainingConfig) -> list[float]:
    """Return the seconds between the ends of the epochs."""
    ends: list[float] = []

    def judged(network: nn.Module) -> Any:
        from pipeline.batches import evaluate

        found = evaluate(network, task)
        ends.append(time.monotonic())
        return found

    with tempfile.TemporaryDirectory() as scratch:
        train(
            module,
            lambda output, batch: task.loss(output, batch.targets),
            config,
            task=task,
            seed=0,
            scratch=Path(scratch),
            progress=silent,
            evaluate=judged,
        )
    return [end - begin for begin, end in itertools.pairwise(ends)]
