"""Recording: writing down what a model says, batch by batch, so that a killed recording goes on where it was.

The files grow in the step's scratch folder and move into the artifact at the end; every SAVED_EVERY batches they are flushed and
the number of batches is noted beside them. Answers follow from the model and the data alone, so a continued record has the same bytes.

Letters: V views, N samples, K classes.
"""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RecipeError
from pipeline.recorded_outputs import Floats, create_file, output_path, top_k

SAVED_EVERY = 20
NOTE = "recorded.json"


class Recording:
    """What is being written of V views of N samples; `done` batches are there already.

    With `k` the first output, [N, K], keeps its k likeliest classes; more than `max_gib` is refused before anything is written.
    """

    def __init__(self, scratch: Path, *, views: int, samples: int, k: int = 0, max_gib: float = math.inf) -> None:
        self.folder = scratch / "recording"
        self.views, self.samples, self.k, self.max_gib = views, samples, k, max_gib
        self.shapes: list[tuple[int, ...]] = []
        self.done = 0
        self._files: dict[Path, Any] = {}
        self._resume()

    def add(self, view: int, first: int, arrays: Sequence[Floats]) -> None:
        """Write a batch's answers [B, ...] of one view, whose first sample has number `first`."""
        if not self.shapes:
            self._begin(arrays)
        for path, part in self._parts(arrays):
            self._files[path][view, first : first + len(part)] = part
        self.done += 1
        if self.done % SAVED_EVERY == 0:
            self._save()

    def finish(self, out: Path) -> None:
        """Move all that was recorded into an artifact's folder."""
        self._save()
        for path in self._files:
            shutil.move(path, out / path.name)
        shutil.rmtree(self.folder)

    def _begin(self, arrays: Sequence[Floats]) -> None:
        self.shapes = [(self.views, self.samples, *array.shape[1:]) for array in arrays]
        if self.k and (arrays[0].ndim != 2 or not 0 < self.k < arrays[0].shape[1]):
            raise RecipeError(
                f"[outputs] top_k = {self.k}, but a sample's answer is {list(arrays[0].shape[1:])}; give fewer than its classes, or 0"
            )
        parts = self._parts(arrays)
        size = sum(part.nbytes / len(part) for _, part in parts) * self.views * self.samples / 2**30
        if size > self.max_gib:
            raise RecipeError(
                f"a teacher's answers to {self.samples:,} samples in {self.views} views take {size:.2f} GiB, [outputs] max_gib is "
                f"{self.max_gib:g}; set top_k there, fewer views, or a higher max_gib"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, part in parts:
            self._files[path] = create_file(path, (self.views, self.samples, *part.shape[1:]), part.dtype)

    def _parts(self, arrays: Sequence[Floats]) -> list[tuple[Path, Any]]:
        """Return what of a batch goes into which file."""
        parts: list[tuple[Path, Any]] = [
            (output_path(self.folder, number), array) for number, array in enumerate(arrays)
        ]
        if self.k:
            logits, classes, rest = top_k(arrays[0], self.k)
            named = [(output_path(self.folder, 0, "classes"), classes), (output_path(self.folder, 0, "rest"), rest)]
            parts = [(parts[0][0], logits), *named, *parts[1:]]
        return parts

    def _save(self) -> None:
        for file in self._files.values():
            file.flush()
        note = {"done": self.done, "shapes": self.shapes, "files": [path.name for path in self._files]}
        draft = self.folder / f"{NOTE}.draft"
        draft.write_text(json.dumps(note), encoding="utf-8")
        draft.replace(self.folder / NOTE)

    def _resume(self) -> None:
        """Go on with what an interrupted recording left; what can't be read is made again."""
        try:
            note = json.loads((self.folder / NOTE).read_text(encoding="utf-8"))
            files = {self.folder / name: np.load(self.folder / name, mmap_mode="r+") for name in note["files"]}
            self.shapes = [tuple(shape) for shape in note["shapes"]]
            self.done = int(note["done"])
        except (OSError, ValueError, KeyError, EOFError, TypeError):
            return
        self._files = files
