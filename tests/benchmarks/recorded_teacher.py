"""What a heavy teacher costs an epoch: MiniLM run along with each batch, against what it said before, read from its record.

The student, the batches and the losses are the same; epochs of the two alternate. `python tests/benchmarks/recorded_teacher.py [ROUNDS]`.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.architecture import load_network, save_network
from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.batches import Batch, training_batches
from pipeline.distillation.losses import Said
from pipeline.distillation.losses.soft_targets import soft_targets
from pipeline.distillation.teachers import Recorded, read_recorded
from pipeline.stage import Context
from pipeline.stages import outputs
from pipeline.task import LoadedTask
from pipeline.tasks import tweets

BATCH_SIZE, VIEWS = 32, 1
Say = Callable[[Batch], Tensor]


def main(rounds: int) -> None:
    """Print both times and their ratio."""
    torch.set_num_threads(1)
    task = LoadedTask(raw=tweets.Tweets(sizes=replace(tweets.FULL, texts=256)), root=Path(tweets.__file__).parent)
    with tempfile.TemporaryDirectory() as folder:
        teacher, recorded, recording = taught(task, Path(folder))
        live: list[float] = []
        read: list[float] = []
        for _ in range(rounds):
            live.append(epoch(task, lambda batch: answered(teacher, batch)))
            read.append(epoch(task, lambda batch: recorded.of(batch)[0]))
    ratio = statistics.median(live) / statistics.median(read)
    print(
        f"an epoch of {len(task.splits.train)} tweets with MiniLM's answers read: {statistics.median(read):.2f} s of one core, "
        f"with MiniLM run along: {statistics.median(live):.2f} s, {ratio:.1f} times as long (recorded once in {recording:.1f} s)"
    )


def taught(task: LoadedTask, folder: Path) -> tuple[nn.Module, Recorded, float]:
    """Return the teacher, what it says of the training split, and what saying it took."""
    model = artifact_of(task, folder / "teacher")
    out, scratch = folder / "said", folder / "scratch"
    out.mkdir()
    scratch.mkdir()
    start = time.process_time()
    context = Context(task=task, seed=0, out=out, scratch=scratch, progress=lambda _: None)
    facts = outputs.STAGE.run({"model": model}, outputs.OutputsConfig(split="train", views=VIEWS), context)
    seconds = time.process_time() - start
    write_manifest(out, "outputs", facts)
    recorded = read_recorded({"minilm": open_artifact(out)}, views=VIEWS, seed=0, samples=len(task.splits.train))
    return load_network(model, task).eval(), recorded, seconds


def artifact_of(task: LoadedTask, folder: Path) -> Artifact:
    """Return MiniLM as it comes; what it knows of tweets doesn't change what it costs."""
    folder.mkdir()
    network = task.teacher("minilm")
    save_network(network, folder, constructor="teacher:minilm", fresh=network)
    write_manifest(folder, "network", {})
    return open_artifact(folder)


def answered(teacher: nn.Module, batch: Batch) -> Tensor:
    """Return what the teacher says now, [1, N, K]."""
    with torch.inference_mode():
        said: Tensor = teacher(*batch.inputs)
    return said[None].clone()


def epoch(task: LoadedTask, say: Say) -> float:
    """Train the student for an epoch on what `say` gives; return the processor seconds."""
    student = task.student().train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    start = time.process_time()
    for batch in training_batches(task, epoch=0, seed=0, batch_size=BATCH_SIZE, views=VIEWS):
        answers = say(batch)
        loss = soft_targets(student(*batch.inputs), Said(answers, torch.ones(answers.shape[:2]), 4.0))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return time.process_time() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
