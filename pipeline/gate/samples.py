"""Samples for a comparison: an .npz of inputs, one array [N, ...] an input, and `labels` [N] where they are known.

Arrays are named as the inputs of the file or of its reference, or are taken in their order; the array `labels` holds the
right class of each sample. Nothing is unpickled, and what the archive would unpack to is bounded before it is unpacked.
"""

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError

Array = NDArray[Any]
LABELS = "labels"
MAX_SAMPLES_BYTES = 2**31

UNREADABLE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, MemoryError)
"""What numpy and zipfile raise for a file that isn't what it says; an encrypted member is a RuntimeError."""


@dataclass(frozen=True)
class Samples:
    """Inputs [N, ...] by name, in the archive's order, and labels [N] or None."""

    path: Path
    sha256: str
    inputs: dict[str, Array]
    labels: NDArray[np.int64] | None

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.inputs.values())))


def read_samples(path: Path) -> Samples:
    """Read an .npz of samples; ModelError when it isn't one, or its arrays don't belong together."""
    _bound(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        with path.open("rb") as archive:
            sha256 = hashlib.file_digest(archive, "sha256").hexdigest()
    except UNREADABLE as error:
        raise _no_samples(path, error) from error
    labels = arrays.pop(LABELS, None)
    _check(path, arrays, labels)
    return Samples(path, sha256, arrays, None if labels is None else labels.astype(np.int64))


def _bound(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except UNREADABLE as error:
        raise _no_samples(path, error) from error
    if unpacked > MAX_SAMPLES_BYTES:
        raise ModelError(f"samples {path} unpack to {unpacked} bytes, above {MAX_SAMPLES_BYTES}; give fewer samples")


def _no_samples(path: Path, error: Exception) -> ModelError:
    told = getattr(error, "strerror", None) or str(error)[:120]
    return ModelError(f"samples {path} are no .npz of plain arrays ({told}); write them with numpy.savez")


def _check(path: Path, arrays: dict[str, Array], labels: Array | None) -> None:
    if not arrays:
        raise ModelError(f"samples {path} hold no input; write an array [N, ...] for each input of the model")
    for name, array in arrays.items():
        if array.ndim == 0 or array.dtype.kind not in "fiub":
            raise ModelError(
                f"samples {path}: {name!r:.60} is {array.dtype} of {array.ndim} dimensions; give numbers [N, ...]"
            )
    counts = {name: len(array) for name, array in arrays.items()}
    if labels is not None:
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ModelError(
                f"samples {path}: labels are {labels.dtype} of {labels.ndim} dimensions; give integers [N]"
            )
        counts[LABELS] = len(labels)
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ModelError(f"samples {path}: arrays have {counts} samples; each needs as many, and at least one")
