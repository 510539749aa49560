"""Features: what layers of a network see on the way, and which layers of two networks belong together.

Layers are named, or matched by shape and depth: for each picture size (or sequence length) that both networks reach, the last layer
of either that has it.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from pipeline.errors import TaskError, did_you_mean

Pair = tuple[str, str]
"""A layer of the student, a layer of the teacher."""


class Taps:
    """Keeps the last output of some layers of a network, by name, until it is closed."""

    def __init__(self, module: nn.Module, layers: Iterable[str]) -> None:
        self.features: dict[str, Tensor] = {}
        known = dict(module.named_modules())
        missing = [name for name in layers if name not in known]
        if missing:
            shown = ", ".join(list(known)[1:20])
            raise TaskError(
                f"layers: {type(module).__name__} has no layer {missing[0]!r}{did_you_mean(missing[0], known)}; it has {shown}"
            )
        self._hooks = [known[name].register_forward_hook(self._keeper(name)) for name in dict.fromkeys(layers)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                self.features[name] = output

        return keep


def match_layers(student: nn.Module, teacher: nn.Module, example: tuple[Tensor, ...]) -> tuple[Pair, ...]:
    """Return the pairs that shape and depth suggest; none where the networks share no size."""
    last_of_student, last_of_teacher = _last_of_each_size(student, example), _last_of_each_size(teacher, example)
    return tuple((name, last_of_teacher[size]) for size, name in last_of_student.items() if size in last_of_teacher)


def features_of(module: nn.Module, layers: Iterable[str], example: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return what some layers give for an example, in eval mode; the modes come back."""
    modes = [(part, part.training) for part in module.modules()]
    with Taps(module, layers) as taps, torch.no_grad():
        module.eval()(*example)
    for part, was_training in modes:
        part.training = was_training
    return taps.features


def _last_of_each_size(module: nn.Module, example: tuple[Tensor, ...]) -> dict[tuple[int, ...], str]:
    names = [name for name, part in module.named_modules() if name and not isinstance(part, nn.Identity)]
    found = features_of(module, names, example)
    # A dict keeps the order in which layers first answered; a parent answers after its children.
    return {size: name for name, value in found.items() if (size := _size(value))}


def _size(feature: Tensor) -> tuple[int, ...]:
    """Return a picture's height and width, or a sequence's length; nothing for plain vectors."""
    if feature.ndim == 4:
        return tuple(feature.shape[2:])
    return (feature.shape[1],) if feature.ndim == 3 else ()
