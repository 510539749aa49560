"""Schedules of what a recipe says about distillation: a number, or a first and a last one between which it goes in a straight line.

A share that rises lets the student find its feet by the labels first; a temperature that falls ends at what it will be judged by
(Jafari et al. 2021, "Annealing Knowledge Distillation", https://arxiv.org/abs/2104.07163). All follows from the step's number.
"""

Scheduled = float | tuple[float, float]


def at(value: Scheduled, way: float) -> float:
    """Return a setting's value at a share of the way, 0 (first step) to 1 (last)."""
    first, last = value if isinstance(value, tuple) else (value, value)
    return first + (last - first) * way


def largest(value: Scheduled) -> float:
    """Return the largest value that it takes."""
    return max(value) if isinstance(value, tuple) else value


def smallest(value: Scheduled) -> float:
    """Return the smallest value that it takes."""
    return min(value) if isinstance(value, tuple) else value
