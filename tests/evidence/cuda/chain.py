"""The digits recipe's trainings in a row, each a stage run as the engine runs it, on one accelerator; and one training that is killed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.stage import Context, Progress, ReportProgress, discover
from pipeline.task import LoadedTask
from pipeline.task_file import load_task

EPOCHS = {"teach": 12, "distill": 5, "prune": 12, "quantize": 3}
"""The recipe's own: pipeline/recipes/digits.toml."""
VIEWS, CHECKPOINT_STEPS = 4, 20
Made = dict[str, Artifact]


def digits(seed: int) -> LoadedTask:
    """Return the recipe's task."""
    return load_task("pipeline.tasks.digits:task", relative_to=Path.cwd(), seed=seed)


def silent(progress: Progress) -> None:
    """Say nothing."""
    del progress


def loud(progress: Progress) -> None:
    """Print a line for each step."""
    print(f"{progress.done}/{progress.total}", flush=True)


def made(
    stage: str,
    inputs: Mapping[str, Artifact],
    settings: Mapping[str, Any],
    *,
    task: LoadedTask,
    folder: Path,
    say: ReportProgress = silent,
) -> Artifact:
    """Run a stage into a folder; what was begun there goes on."""
    found = discover()[stage]
    out = folder / stage / "out"
    out.mkdir(parents=True, exist_ok=True)
    context = Context(task=task, seed=task.seed, out=out, scratch=folder / stage / "scratch", progress=say)
    facts = found.run(inputs, found.config.model_validate_json(json.dumps(dict(settings))), context)
    write_manifest(out, found.gives, facts)
    return open_artifact(out)


def chain(seed: int, settings: Mapping[str, Any], folder: Path, *, share: float) -> dict[str, Any]:
    """Teach, distill, prune, quantize; return digest, validation score and seconds of each. `share` is of the recipe's epochs."""
    task, results = digits(seed), dict[str, Any]()

    def step(stage: str, inputs: Mapping[str, Artifact], **more: Any) -> Artifact:
        begun = time.monotonic()
        own = {**settings, **more, "epochs": max(1, round(share * EPOCHS[stage]))}
        found = made(stage, inputs, own, task=task, folder=folder)
        seconds = time.monotonic() - begun
        results[stage] = {
            "digest": found.digest,
            "validation_score": found.facts["validation_score"],
            "seconds": seconds,
        }
        return found

    teacher = step("teach", {}, teacher="resnet20")
    heard = {
        f"{name}:resnet20": made(
            "outputs",
            {"model": teacher},
            {"split": split, "views": views},
            task=task,
            folder=folder / split,
        )
        for name, split, views in (("teacher_outputs", "train", VIEWS), ("teacher_validation", "validation", 1))
    }
    student = step("distill", heard)
    pruned = step("prune", {"network": student, **heard})
    step("quantize", {"network": pruned, **heard})
    return results


def again(stage: str, settings: Mapping[str, Any], folder: Path, chained: Path, *, share: float) -> str:
    """Run one of a chain's trainings of seed 0 again, elsewhere; return its digest. The inputs are those of the chain."""
    inputs = {
        f"{name}:resnet20": open_artifact(chained / split / "outputs" / "out")
        for name, split in (("teacher_outputs", "train"), ("teacher_validation", "validation"))
    }
    before = {"prune": "distill", "quantize": "prune"}
    if stage in before:
        inputs["network"] = open_artifact(chained / before[stage] / "out")
    own = {**settings, "epochs": max(1, round(share * EPOCHS[stage])), "checkpoint_steps": CHECKPOINT_STEPS}
    return made(stage, inputs, own, task=digits(0), folder=folder, say=loud).digest


def killed(kills: tuple[int, ...], *arguments: str) -> int:
    """Run `python -m tests.evidence.cuda.run again ...`, killed after so many of its lines each time, then in peace; count the kills."""
    count = 0
    for lines in kills:
        with start("again", *arguments) as run:
            assert run.stdout is not None
            heard = sum(1 for _, _ in zip(range(lines), run.stdout, strict=False))
            run.kill()
            count += heard == lines
    return count


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start one of this study's own commands, on one thread: many run side by side."""
    command = [sys.executable, "-m", "tests.evidence.cuda.run", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
