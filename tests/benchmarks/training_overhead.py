"""What the training loop costs over a bare PyTorch loop: same network, same batches, same steps.

The bare loop is what one would write by hand: fetch, forward, loss, backward, clip, step. Epochs of the two alternate, so that
a busy machine hits both. Printed are the median CPU time of a step of either, their ratio, and what a training costs once
(set-up, checkpoints). `python tests/benchmarks/training_overhead.py [EPOCHS]`.
"""

import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

from pipeline.batches import Evaluation, training_batches
from pipeline.networks.resnet import resnet8
from pipeline.stage import Progress
from pipeline.task import LoadedTask
from pipeline.tasks import digits
from pipeline.training import TrainingConfig, train

CONFIG = TrainingConfig(epochs=1, batch_size=64)


def bare_epoch(task: LoadedTask) -> tuple[list[float], float]:
    """Return the CPU seconds of each step of an epoch by hand, and of all of it."""
    begin = time.process_time()
    module = resnet8().train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=CONFIG.learning_rate)
    starts = []
    for batch in training_batches(task, epoch=0, seed=0, batch_size=CONFIG.batch_size):
        starts.append(time.process_time())
        loss = task.loss(module(*batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(module.parameters(), CONFIG.clip_norm)
        optimizer.step()
    return differences(starts), time.process_time() - begin


def our_epoch(task: LoadedTask) -> tuple[list[float], float]:
    """Return the CPU seconds of each step of an epoch in the product's loop, and of all of it."""
    starts = []
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        train(
            resnet8(),
            lambda output, batch: task.loss(output, batch.targets),
            CONFIG,
            task=task,
            seed=0,
            scratch=Path(folder),
            progress=say,
            evaluate=lambda _: Evaluation(0.0, 0.0),
            on_step=lambda _step, _total: starts.append(time.process_time()),
        )
        return differences(starts), time.process_time() - begin


def differences(starts: list[float]) -> list[float]:
    """Return the time from each step's start to the next's."""
    return [later - earlier for earlier, later in pairwise(starts)]


def say(progress: Progress) -> None:
    """Take a progress record and drop it."""
    assert progress.done <= progress.total


def main(epochs: int) -> None:
    """Print the medians, their ratio and the fixed cost."""
    torch.set_num_threads(1)
    task = LoadedTask(raw=digits.task, root=Path(digits.__file__).parent)
    our_epoch(task)  # warm: imports, kernels, pages
    steps: tuple[list[float], list[float]] = ([], [])
    once: list[float] = []
    for _ in range(epochs):
        for number, epoch in enumerate((bare_epoch, our_epoch)):
            taken, total = epoch(task)
            steps[number].extend(taken)
        once.append(total - sum(taken) - statistics.median(taken))
    bare, ours = statistics.median(steps[0]), statistics.median(steps[1])
    sys.stdout.write(
        f"training overhead: bare loop {bare * 1e3:.1f} ms a step, ours {ours * 1e3:.1f} ms, ratio {ours / bare:.3f} "
        f"(CPU time, medians of {len(steps[0])} steps); {statistics.median(once):.2f} s once a training\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
