"""What a constant's values are, counted once while a file is read: numbers that no layer wants, the range, a digest."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.checks.graph import Content

DIGESTED_BYTES = 1024
"""Smaller constants are scales, axes and biases: equal ones waste nothing."""
SMALL = 16


def content_of(values: NDArray[Any]) -> Content:
    """Count what lies in a constant; a type without floats in it has neither odd numbers nor denormal ones."""
    digest = _digest(values) if values.nbytes >= DIGESTED_BYTES else ""
    if values.dtype.kind not in "fiu" or not values.size:
        return Content(digest, values.size, 0, 0, 0.0, 0.0)
    finite, denormal = values.ravel(), 0
    if values.dtype.kind == "f":
        finite = finite[np.isfinite(finite)]
        denormal = int(np.count_nonzero((finite != 0) & (np.abs(finite) < np.finfo(values.dtype).smallest_normal)))
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Content(digest, values.size, values.size - finite.size, denormal, low, high)


def small_integers(values: NDArray[Any]) -> tuple[int, ...] | None:
    """Return the values of a short constant of integers, None for any other."""
    if values.dtype.kind not in "iub" or values.size > SMALL:
        return None
    return tuple(int(value) for value in values.ravel())


def _digest(values: NDArray[Any]) -> str:
    digest = hashlib.blake2b(f"{values.dtype} {values.shape} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
