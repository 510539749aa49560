"""Losses between a student's output and its teachers': one a file, a function of the file's name, found by being there.

Letters: M teachers, N samples, K classes.
"""

import importlib
import pkgutil
from typing import Protocol

from torch import Tensor


class OutputLoss(Protocol):
    """How far a student's output is from its teachers'."""

    def __call__(self, student: Tensor, teachers: Tensor, *, weights: Tensor, temperature: float) -> Tensor:
        """Return one number; `student` [N, ...], `teachers` [M, N, ...], `weights` [M, N], each sample's adding up to 1."""


def discover() -> dict[str, OutputLoss]:
    """Return the losses by name."""
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    return {name: vars(importlib.import_module(f"{__name__}.{name}"))[name] for name in names}


def mixed(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean [N, ...] of what M teachers say [M, N, ...]."""
    return (values * weights.reshape(*weights.shape, *[1] * (values.ndim - 2))).sum(0)
