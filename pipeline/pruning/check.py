"""Is a cut network the network that it was cut from? The proof that the layers were coupled rightly.

A cut network must run on the example inputs, answer in the same shapes, and answer what the whole network answers when the
inputs that left are silenced. The last can't be asked where a norm across channels (LayerNorm, GroupNorm) lies on a cut group,
since its mean and variance are then another's; there the shapes must do.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.pruning.coupling import Coupled
from pipeline.pruning.cut import part, removal_of, silenced

NORMS_ACROSS_CHANNELS = (nn.LayerNorm, nn.GroupNorm)
TOLERANCE = 1e-4
"""How far a cut network may be from the silenced one, relative to its largest answer: float32 sums in another order."""


def problem_of(
    module: nn.Module,
    shorter: nn.Module,
    groups: Sequence[Coupled],
    removed_units: Sequence[Sequence[int]],
    *,
    example_inputs: tuple[Tensor, ...],
) -> str:
    """Say what is wrong with a cut network; nothing when it is right."""
    removal = removal_of(groups, removed_units)
    quiet = silenced(module, removal)
    try:
        expected, found = _answers(quiet, example_inputs), _answers(shorter, example_inputs)
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        return f"its forward() fails when channels leave: {str(error).splitlines()[0]:.150}"
    if [answer.shape for answer in found] != [answer.shape for answer in expected]:
        return "the shape of its output changes when channels leave"
    if any(isinstance(part(module, layer), NORMS_ACROSS_CHANNELS) for layer, _ in removal):
        return ""
    return (
        ""
        if all(_near(a, b) for a, b in zip(found, expected, strict=True))
        else "its layers read other channels than the trace says"
    )


def _answers(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Return a network's outputs in eval mode, flattened to a list; the network is a copy that nobody else uses."""
    with torch.no_grad():
        modes = {piece: piece.training for piece in module.modules()}
        answer = module.eval()(*example_inputs)
        for piece, mode in modes.items():
            piece.training = mode
    return _tensors(answer)


def _tensors(answer: Any) -> list[Tensor]:
    if isinstance(answer, Tensor):
        return [answer]
    values = (
        list(answer.values()) if isinstance(answer, dict) else list(answer) if isinstance(answer, tuple | list) else []
    )
    return [tensor for value in values for tensor in _tensors(value)]


def _near(found: Tensor, expected: Tensor) -> bool:
    scale = expected.abs().max().item()
    return bool((found - expected).abs().max().item() <= TOLERANCE * max(scale, 1e-6))
