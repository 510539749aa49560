"""Audit: is this teacher worth learning from? What its answers on labelled data say, before hours are spent.

The thresholds below were fixed before any table was made with them.

Letters: N samples, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.distillation.calibration import calibration_error, class_rows, temperature_of
from pipeline.resampled import bounds

SWAPPED = 0.1
"""So much more often right with its classes in another order: far above what chance finds among K! orders of a fair teacher."""
KNOWS = 0.5
"""Below this in the best order it is no order that ails the teacher; the best of K! orders flatters a teacher that guesses."""
PREPARED = 0.05
"""Better by this share of the score on data prepared otherwise; smaller gains, shown or not, are a network that doesn't care."""
TOO_SURE = 2.0
"""A temperature above this: the middle of what Guo et al. 2017 (table 4 of the supplement) found for networks in use is below."""
COSTLY = 1.5
"""... and the negative log-likelihood is this many times what it would be, so that it matters."""

Verdict = Literal["worth learning from", "no gain shown", "weaker than the student", "broken"]


@dataclass(frozen=True)
class Finding:
    """Something to know of a teacher; one that is `broken` should teach nobody as it is."""

    code: str
    says: str
    broken: bool = False


def swapped_classes(logits: Tensor, labels: Tensor, names: Sequence[str]) -> Finding | None:
    """Say whether the classes of logits [N, K] stand in another order than those of labels [N]; `names` are the classes'."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415  # a tenth of a second, and rarely

    rows, right = class_rows(logits, labels)
    count = rows.shape[1]
    confusion = torch.zeros(count, count, dtype=torch.long)
    confusion.index_put_((rows.argmax(1), right), torch.ones(len(right), dtype=torch.long), accumulate=True)
    said, meant = linear_sum_assignment(confusion.numpy(), maximize=True)
    now, best = (float(confusion[said, order].sum() / len(right)) for order in (said, meant))
    if best - now < SWAPPED or best < KNOWS:
        return None
    moved = [f"{_name(names, s)} for {_name(names, m)}" for s, m in zip(said, meant, strict=True) if s != m]
    told = ", ".join(moved[:4]) + (f" and {len(moved) - 4} more" if len(moved) > 4 else "")
    return Finding(
        "swapped-classes",
        f"right on {now:.1%}, and on {best:.1%} with its classes in another order (it says {told}): "
        f"give Teacher(classes={tuple(int(m) for m in meant)})",
        broken=True,
    )


def over_confidence(logits: Tensor, labels: Tensor) -> Finding | None:
    """Say whether logits [N, K] are much surer than they are right about labels [N]."""
    rows, right = class_rows(logits, labels)
    temperature = temperature_of(rows, right)
    now, mended = (float(F.cross_entropy(rows.double() / t, right.long())) for t in (1.0, temperature))
    if temperature < TOO_SURE or now < COSTLY * mended:
        return None
    return Finding(
        "over-confident",
        f"surer than it is right: a temperature of {temperature:.1f} would mend it (expected calibration error "
        f"{calibration_error(rows, right):.3f}, then {calibration_error(rows / temperature, right):.3f}); "
        "weighting = 'agreement' calibrates by itself, else raise temperature in [distill]",
    )


def other_preparation(
    now: NDArray[np.float64], others: Mapping[str, NDArray[np.float64]], *, higher_is_better: bool
) -> Finding | None:
    """Say whether a teacher scores much better on data prepared otherwise, by `resampled_scores` of the same draws."""
    if not others:
        return None
    sign = 1.0 if higher_is_better else -1.0
    best = max(others, key=lambda name: sign * float(others[name][0]))
    gain, before, after = bounds(sign * (others[best] - now)), float(now[0]), float(others[best][0])
    if gain["low"] <= 0 or gain["value"] < PREPARED * max(abs(before), abs(after)):
        return None
    return Finding(
        "wrong-preprocessing",
        f"scores {before:.4f} on the data as it gets them, and {after:.4f} on {best}: give Teacher(inputs=...) that prepares them so",
        broken=True,
    )


def verdict(*, broken: bool, ahead: Mapping[str, float], gain: Mapping[str, float]) -> Verdict:
    """Return the word on a recipe's teachers.

    `ahead` is how far the best of them is before the probe's student alone, `gain` how far the probe's taught student is;
    both with `low` and `high`, positive where better.
    """
    if broken:
        return "broken"
    if ahead["low"] <= 0:
        return "weaker than the student" if ahead["value"] < 0 else "no gain shown"
    return "worth learning from" if gain["low"] > 0 else "no gain shown"


def agreement(one: Tensor, other: Tensor) -> float:
    """Return how often two teachers [N, K, ...] name the same class."""
    return float((one.argmax(1) == other.argmax(1)).float().mean())


def _name(names: Sequence[str], number: int) -> str:
    return repr(names[number]) if number < len(names) else str(number)
