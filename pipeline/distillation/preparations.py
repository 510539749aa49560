"""Preparations: the usual ways in which pictures are prepared for a network, to try on a teacher that does badly.

What a task's pictures were before it prepared them is read from its `preprocessing`, "mean" and "standard_deviation" of values in
0 to 1; where it says nothing, their own lowest and highest values stand for 0 and 1.

Letters: N samples, C channels, H height, W width.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Prepare = Callable[[Tensor], Tensor]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation: https://docs.pytorch.org/vision/stable/models.html."""
MNIST = ((0.1307,), (0.3081,))
"""The same: https://github.com/pytorch/examples/blob/main/mnist/main.py."""


def preparations(pictures: Tensor, said: Mapping[str, str]) -> dict[str, Prepare]:
    """Return ways to prepare the task's pictures [N, C, H, W] anew, by what they give; none where these are no pictures."""
    if pictures.ndim != 4 or not pictures.is_floating_point() or pictures.shape[1] not in (1, 3):
        return {}
    raw = _raw(pictures, said)
    mean, deviation = IMAGENET if pictures.shape[1] == 3 else MNIST
    whose = "ImageNet's" if pictures.shape[1] == 3 else "MNIST's"
    ways: dict[str, Prepare] = {
        "values from 0 to 1": raw,
        "values from 0 to 255": lambda x: 255 * raw(x),
        "values from -1 to 1": lambda x: 2 * raw(x) - 1,
        f"{whose} normalisation": lambda x: (raw(x) - _channels(mean)) / _channels(deviation),
        "inverted values": lambda x: x.amin() + x.amax() - x,
    }
    if pictures.shape[1] == 3:
        ways["channels in the order BGR"] = lambda x: x.flip(1)
    return ways


def _raw(pictures: Tensor, said: Mapping[str, str]) -> Prepare:
    """Return what turns pictures back to values in 0 to 1."""
    try:
        mean, deviation = (
            torch.tensor([float(part) for part in said[key].split(",")]) for key in ("mean", "standard_deviation")
        )
    except (KeyError, ValueError):
        low, high = pictures.amin(), pictures.amax()
        return lambda x: (x - low) / (high - low).clamp_min(1e-12)
    return lambda x: x * _channels(deviation) + _channels(mean)


def _channels(values: Tensor | tuple[float, ...]) -> Tensor:
    return torch.as_tensor(values).reshape(1, -1, 1, 1)
