"""Run one stage in a folder, as the engine does, without a store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.stage import Context, Progress, ReportProgress, Stage
from pipeline.task import LoadedTask


def silent(progress: Progress) -> None:
    assert progress.total >= progress.done


def context_of(task: LoadedTask, folder: Path, *, seed: int = 0, progress: ReportProgress = silent) -> Context:
    out, scratch = folder / "out", folder / "scratch"
    out.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    return Context(task=task, seed=seed, out=out, scratch=scratch, progress=progress)


def make(
    stage: Stage,
    task: LoadedTask,
    folder: Path,
    inputs: Mapping[str, Artifact] | None = None,
    *,
    seed: int = 0,
    **settings: Any,
) -> Artifact:
    context = context_of(task, folder, seed=seed)
    facts = stage.run(inputs or {}, stage.config(**settings), context)
    write_manifest(context.out, stage.gives, facts)
    return open_artifact(context.out)
