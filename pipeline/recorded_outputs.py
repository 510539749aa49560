"""Recorded outputs: how an artifact of kind "outputs" lies on disk.

`output_0.npy`, `output_1.npy`, ...: [V, N, ...] float32, one for each output of the model. They are mapped, not read, so that
what a teacher says about many views of a large data set needs no memory.

Where classes are many, the first output may hold the top k of them alone: `output_0.npy` [V, N, k] their logits,
`output_0.classes.npy` [V, N, k] which they are, `output_0.rest.npy` [V, N] one logit r for each of the others, such that together they
have the weight that they had: (K - k) exp(r) = Σ exp(z) over them. So probabilities at temperature 1 are right, but for how the rest
share theirs; above it the rest's weight is too high (concavity of x^(1/T)), at most by what K - k equal logits have.

Letters: V views, N samples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.artifact import Artifact
from pipeline.errors import ModelError

Floats = NDArray[np.float32]
Answers = Floats | tuple[Floats, ...]
"""What a model answers on a split, [N, ...]; a tuple where it has several outputs."""


class Stored(Protocol):
    """One output's record: an array, or what stands for one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[V, N, ...], whatever is stored of it."""

    def __getitem__(self, view: int, /) -> Any:
        """Return one view, which gives [B, ...] for an index [B]."""


@dataclass(frozen=True)
class TopK:
    """A record of the k likeliest classes; a view of it gives all K again."""

    logits: Floats
    classes: NDArray[np.int32]
    rest: Floats
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """[V, N, K]."""
        return (*self.rest.shape, self.count)

    def __getitem__(self, view: int) -> "TopKView":
        return TopKView(self, view)


@dataclass(frozen=True)
class TopKView:
    """One view of a TopK."""

    record: TopK
    view: int

    def __getitem__(self, index: Any) -> Floats:
        rest = self.record.rest[self.view][index]
        whole = np.repeat(rest[:, None], self.record.count, axis=1)
        np.put_along_axis(whole, self.record.classes[self.view][index], self.record.logits[self.view][index], axis=1)
        return whole


def top_k(logits: Floats, k: int) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Return the k largest of logits [N, K], their classes [N, k], and the logit of each other one [N]."""
    classes = np.argsort(-logits, axis=1, kind="stable")[:, :k].astype(np.int32)
    rest = logits.astype(np.float64)
    np.put_along_axis(rest, classes, -np.inf, axis=1)
    highest = rest.max(1)
    weight = np.exp(rest - highest[:, None]).sum(1)
    mean = highest + np.log(weight / (logits.shape[1] - k))
    return np.take_along_axis(logits, classes, axis=1), classes, mean.astype(np.float32)


def create_outputs(folder: Path, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    """Make one mapped file for each output, to be filled and flushed."""
    return [create_file(output_path(folder, number), shape) for number, shape in enumerate(shapes)]


def create_file(path: Path, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    """Make one mapped file."""
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=tuple(shape))


def read_outputs(artifact: Artifact) -> tuple[Any, ...]:
    """Return an artifact's answers [V, N, ...], one `Stored` for each output: an array, unless it is compressed."""
    try:
        arrays = [_mapped(output_path(artifact.path, number)) for number in range(len(artifact.facts["shapes"]))]
        if not artifact.facts.get("top_k"):
            return tuple(arrays)
        classes, rest = (_mapped(output_path(artifact.path, 0, part)) for part in ("classes", "rest"))
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(
            f"outputs {artifact.digest[:12]} can't be read ({' '.join(str(error).split())[:200]}); run the recipe again"
        ) from error
    return (TopK(arrays[0], classes, rest, int(artifact.facts["shapes"][0][2])), *arrays[1:])


def read_answers(artifact: Artifact) -> Answers:
    """Return the answers on a split that is shown in one view, as `task.score` takes them."""
    answers = all_answers(artifact)
    return answers if len(answers) > 1 else answers[0]


def all_answers(artifact: Artifact) -> tuple[Floats, ...]:
    """Return the answers on a split that is shown in one view, [N, ...], one array for each output."""
    return tuple(np.asarray(output[0][:]) for output in read_outputs(artifact))


def output_path(folder: Path, number: int, part: str = "") -> Path:
    """Return where one output lies; `part` is "classes" or "rest" of a compressed one."""
    return folder / f"output_{number}{'.' * bool(part)}{part}.npy"


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r", allow_pickle=False)
