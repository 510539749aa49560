"""Features: a student learns what its teacher's layers see on the way, not the outputs alone.

Hints are FitNets (Romero et al. 2015, https://arxiv.org/abs/1412.6550, section 2.2): an adapter turns the student's
activations into the shape of the teacher's, and the mean square of the difference is the loss. Here it is divided by
the mean square of the teacher's activations, so that one weight fits layers of any scale:

    L = mean((r(f_S) - f_T)²) / mean(f_T²)

Layers are named, or matched by shape and depth: for each picture size (or sequence length) that both networks reach, the last layer
of either that has it.

Letters: N samples, C channels, H height, W width, S student, T teacher.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
                f"hint_layers: {type(module).__name__} has no layer {missing[0]!r}{did_you_mean(missing[0], known)}; it has {shown}"
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


class Hints(nn.Module):
    """The hint loss of some pairs of layers; owns the adapters, one a pair."""

    def __init__(self, pairs: Sequence[Pair], student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self.adapters = nn.ModuleList(_adapter(student[s], teacher[t]) for s, t in pairs)

    def forward(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """Return the mean loss over the pairs."""
        losses = [
            _difference(adapter(student[s]), teacher[t])
            for adapter, (s, t) in zip(self.adapters, self.pairs, strict=True)
        ]
        return torch.stack(losses).mean()


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


def _adapter(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return a 1x1 convolution for pictures [N, C, H, W], a linear layer for [N, ..., C]."""
    if student.ndim != teacher.ndim:
        raise TaskError(
            f"hint_layers: a layer that gives {list(student.shape)} can't learn from one that gives {list(teacher.shape)}; "
            "pair layers of the same kind"
        )
    if student.ndim == 4:
        return nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False)
    return nn.Linear(student.shape[-1], teacher.shape[-1], bias=False)


def _difference(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = student.float(), teacher.float()
    if student.ndim == 4 and student.shape != teacher.shape:
        height, width = (min(one, other) for one, other in zip(student.shape[2:], teacher.shape[2:], strict=True))
        student = F.adaptive_avg_pool2d(student, (height, width))
        teacher = F.adaptive_avg_pool2d(teacher, (height, width))
    return F.mse_loss(student, teacher) / teacher.square().mean().clamp_min(1e-12)
