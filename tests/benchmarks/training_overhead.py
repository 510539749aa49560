"""What the training loop costs over a bare PyTorch loop: same network, same batches, same steps.

The bare loop is what one would write by hand: fetch, forward, loss, backward, clip, step. Epochs of the two alternate, so
that a busy machine hits both; the medians and their ratio are printed. `python tests/benchmarks/training_overhead.py [EPOCHS]`.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from pipeline.batches import Evaluation, training_batches
from pipeline.networks.resnet import resnet8
from pipeline.stage import Progress
from pipeline.task import LoadedTask
from pipeline.tasks import digits
from pipeline.training import TrainingConfig, train

CONFIG = TrainingConfig(epochs=1, batch_size=64)


def bare_epoch(task: LoadedTask) -> float:
    """Return the CPU seconds of one epoch by hand."""
    module = resnet8().train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=CONFIG.learning_rate)
    begin = time.process_time()
    for batch in training_batches(task, epoch=0, seed=0, batch_size=CONFIG.batch_size):
        loss = task.loss(module(*batch.inputs), batch.targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(module.parameters(), CONFIG.clip_norm)
        optimizer.step()
    return time.process_time() - begin


def our_epoch(task: LoadedTask) -> float:
    """Return the CPU seconds of one epoch in the product's loop: set-up, checkpoints and progress included."""
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
        )
        return time.process_time() - begin


def say(progress: Progress) -> None:
    """Take a progress record and drop it."""
    assert progress.done <= progress.total


def main(epochs: int) -> None:
    """Print both medians and their ratio."""
    torch.set_num_threads(1)
    task = LoadedTask(raw=digits.task, root=Path(digits.__file__).parent)
    bare_epoch(task)
    our_epoch(task)  # both warm: imports, kernels, pages
    pairs = [(bare_epoch(task), our_epoch(task)) for _ in range(epochs)]
    bare, ours = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratio = statistics.median(our / hand for hand, our in pairs)
    sys.stdout.write(
        f"training overhead: bare loop {bare:.2f} s, ours {ours:.2f} s an epoch (CPU time, median of {epochs}), "
        f"median ratio {ratio:.3f}\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
