"""Train the small task once in peace, then in child processes that are killed, again and again, until one ends.

`python -m tests.pipeline.killed_training FOLDER TRAININGS KILLS` prints a line for each training: the digest of its weights. A child gets
SIGKILL after a random number of steps, in the middle of whatever it does then, a checkpoint's writing included. The
children are forks, so that torch is imported once.
"""

import os
import random
import signal
import sys
from pathlib import Path

import lightning_fabric  # noqa: F401  # imported once, before the forks
import torch

from pipeline.batches import Batch
from pipeline.fingerprint import sample_fingerprint
from pipeline.stage import Progress
from pipeline.training import TrainingConfig, train
from tests.small_task import bars

CONFIG = TrainingConfig(epochs=4, batch_size=16, checkpoint_steps=2, views=0)


def train_once(folder: Path, pipe: int) -> None:
    task = bars()
    module = task.student()

    def loss(output: torch.Tensor, batch: Batch) -> torch.Tensor:
        return task.loss(output, batch.targets)

    def say(progress: Progress) -> None:
        assert progress.done
        os.write(pipe, b".")

    result = train(module, loss, CONFIG, task=task, seed=0, scratch=folder / "scratch", progress=say)
    digest = sample_fingerprint(dict(module.state_dict()))
    (folder / "digest").write_text(f"{digest} {result.best_epoch} {result.history[-1]['loss']!r}")


def run_child(folder: Path, *, kill_after: int | None) -> bool:
    """Return whether the child ended by itself."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        train_once(folder, write)
        os._exit(0)
    os.close(write)
    taken = 0
    while (kill_after is None or taken < kill_after) and os.read(read, 1):
        taken += 1
    if kill_after is not None and taken == kill_after:
        os.kill(child, signal.SIGKILL)
    os.close(read)
    return os.waitpid(child, 0)[1] == 0


def train_under_fire(folder: Path, dice: random.Random, *, kills: int) -> str:
    """Return the digest that the last child leaves, after `kills` that were killed."""
    folder.mkdir()
    ended = any(run_child(folder, kill_after=dice.randint(1, 4)) for _ in range(kills))
    if not ended:
        assert run_child(folder, kill_after=None)
    return (folder / "digest").read_text(encoding="utf-8")


def main(folder: Path, trainings: int, kills: int) -> None:
    torch.set_num_threads(1)
    dice = random.Random(0)  # noqa: S311  # no secret
    for number in range(trainings + 1):
        sys.stdout.write(train_under_fire(folder / str(number), dice, kills=kills if number else 0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
