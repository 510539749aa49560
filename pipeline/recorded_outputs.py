"""Recorded outputs: how an artifact of kind "outputs" lies on disk.

`output_0.npy`, `output_1.npy`, ...: [V, N, ...] float32, one for each output of the model. They are mapped, not read, so that
what a teacher says about many views of a large data set needs no memory.

Letters: V views, N samples.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import Artifact
from pipeline.errors import ModelError

Floats = NDArray[np.float32]
Answers = Floats | tuple[Floats, ...]
"""What a model answers on a split, [N, ...]; a tuple where it has several outputs."""


def create_outputs(folder: Path, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Make one mapped file for each output, to be filled and flushed."""
    return [
        np.lib.format.open_memmap(_path(folder, number), mode="w+", dtype=np.float32, shape=tuple(shape))
        for number, shape in enumerate(shapes)
    ]


def read_outputs(artifact: Artifact) -> tuple[Floats, ...]:
    """Return an artifact's answers [V, N, ...], one array for each output."""
    files = [_path(artifact.path, number) for number in range(len(artifact.facts["shapes"]))]
    try:
        return tuple(np.load(file, mmap_mode="r", allow_pickle=False) for file in files)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(
            f"outputs {artifact.digest[:12]} can't be read ({' '.join(str(error).split())[:200]}); run the recipe again"
        ) from error


def read_answers(artifact: Artifact) -> Answers:
    """Return the answers on a split that is shown in one view, as `task.score` takes them."""
    answers = all_answers(artifact)
    return answers if len(answers) > 1 else answers[0]


def all_answers(artifact: Artifact) -> tuple[Floats, ...]:
    """Return the answers on a split that is shown in one view, [N, ...], one array for each output."""
    return tuple(np.asarray(output[0]) for output in read_outputs(artifact))


def _path(folder: Path, number: int) -> Path:
    return folder / f"output_{number}.npy"
