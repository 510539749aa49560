"""Networks on disk without pickle, pruned ones too, and how large a network is.

A network is saved as safetensors and a small JSON (see `pipeline.saved_network`): how its shapes differ from what the task's
own constructor builds. `rebuild` takes a fresh module from that constructor, cuts its tensors and attributes down to the
saved ones, and loads the weights: the exact network again, as the class that the user wrote, with no code in the file.

Pruning only ever makes extents smaller, so a file that would make one larger is refused; with that no file can ask for more
memory than the constructor's own network.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.artifact import Artifact
from pipeline.depth import lengths_of, with_lengths
from pipeline.errors import ModelError
from pipeline.layout import aligned
from pipeline.saved_network import (
    ARCHITECTURE,
    WEIGHTS,
    Architecture,
    Change,
    Value,
    read_architecture,
    read_header,
    write_architecture,
)
from pipeline.task import LoadedTask
from pipeline.vocabulary import tables_of, with_tables


def save_network(module: nn.Module, folder: Path, *, constructor: str, fresh: nn.Module) -> None:
    """Write a network into a folder: `fresh` is what `constructor` ("student" or "teacher:NAME") builds.

    ModelError when the network has other modules or tensors than `fresh`, or larger ones.
    """
    tables, lengths = tables_of(module), lengths_of(module, fresh)
    fresh = with_tables(with_lengths(fresh, lengths), tables)
    tensors, first = _tensors(module), _tensors(fresh)
    _check_names(set(tensors), set(first), constructor)
    shapes = {
        name: Change(was=tuple(first[name].shape), now=tuple(tensor.shape))
        for name, tensor in tensors.items()
        if tensor.shape != first[name].shape
    }
    architecture = Architecture(
        constructor=constructor,
        shapes=shapes,
        attributes=_attribute_changes(module, fresh),
        tables=tables,
        lengths=lengths,
    )
    _check_smaller(architecture)
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)
    write_architecture(architecture, folder)


def rebuild(fresh: nn.Module, folder: Path) -> nn.Module:
    """Return the network that a folder holds, built on a copy of what its constructor makes; ModelError where they part."""
    architecture, header = read_architecture(folder), read_header(folder)
    _check_smaller(architecture)
    module = with_tables(with_lengths(fresh, architecture.lengths), architecture.tables)
    first = _tensors(module)
    for name, changes in architecture.attributes.items():
        _set_attributes(_submodule(module, name), changes, name)
    _check_names(set(header), set(first), architecture.constructor)
    for name, tensor in first.items():
        change = architecture.shapes.get(name, Change(was=tuple(tensor.shape), now=tuple(tensor.shape)))
        if (change.was, change.now) != (tuple(tensor.shape), header[name].shape):
            raise ModelError(
                f"{folder}: {name} is {header[name].shape} in {WEIGHTS} and {change.was} -> {change.now} in {ARCHITECTURE}, "
                f"the task's {architecture.constructor} has {tuple(tensor.shape)}; the task has changed since: run the recipe again"
            )
    _fill(module, _loaded(folder))
    return module


def load_network(artifact: Artifact, task: LoadedTask) -> nn.Module:
    """Return an artifact's network, built by the task's own constructor."""
    folder = artifact.file(ARCHITECTURE).parent
    constructor = read_architecture(folder).constructor
    fresh = task.student() if constructor == "student" else task.teacher(constructor.removeprefix("teacher:"))
    return rebuild(fresh, folder)


def parameters_of(module: nn.Module) -> int:
    """Return how many numbers a network learns: elements of its parameters, a shared one counted once, buffers not."""
    return sum(parameter.numel() for parameter in module.parameters())


def macs_of(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> int:
    """Return the multiply-accumulates of one sample: of the first of `example_inputs`, in eval mode.

    Counted are convolutions (an output element costs C_in / groups * kernel elements, a transposed one the same for each input
    element with C_out), linear layers, matrix products (m * k * n) and attention's two products. Taps on padding count as
    taps. Biases, BatchNorm, activations, pooling, sums and look-ups count nothing.
    """
    return _run(module, example_inputs, _Counter())


def weighted_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return each convolution and linear layer by its name, in the order of the network's modules."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)  # noqa: SLF001  # torch's only name for any convolution
    return {name: part for name, part in module.named_modules() if isinstance(part, kinds)}


def macs_by_layer(module: nn.Module, example_inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """Return the MACs of each convolution and linear layer, as `macs_of` counts them; what runs between layers is left out."""
    counted: dict[str, int] = {}
    counter = _Counter()
    with ExitStack() as hooks:
        for name, part in weighted_layers(module).items():
            counted[name] = 0
            hooks.callback(part.register_forward_pre_hook(partial(_before_layer, counted, counter, name)).remove)
            hooks.callback(part.register_forward_hook(partial(_after_layer, counted, counter, name)).remove)
        _run(module, example_inputs, counter)
    return counted


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by name, a shared one under each of its names."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    return parameters | dict(module.named_buffers(remove_duplicate=False))


def _attribute_changes(module: nn.Module, fresh: nn.Module) -> dict[str, dict[str, Change]]:
    """Return the whole numbers, and rows of them, that differ between two networks' modules."""
    changes = {}
    originals = dict(fresh.named_modules())
    for name, part in module.named_modules():
        if name not in originals or type(part) is not type(originals[name]):
            raise ModelError(
                f"the network has a {type(part).__name__} {name!r} that its constructor doesn't build; save what it builds, pruned"
            )
        was, now = _extents(originals[name]), _extents(part)
        found = {
            key: Change(was=was[key], now=now[key]) for key in sorted(was.keys() & now.keys()) if was[key] != now[key]
        }
        changes.update({name: found} if found else {})
    return changes


def _extents(module: nn.Module) -> dict[str, Value]:
    """Return a module's own attributes that are whole numbers, or rows of them."""
    extents: dict[str, Value] = {}
    for key, value in vars(module).items():
        if type(value) is int:
            extents[key] = value
        elif isinstance(value, tuple | list) and value and all(type(extent) is int for extent in value):
            extents[key] = tuple(value)
    return extents


def _set_attributes(module: nn.Module, changes: Mapping[str, Change], name: str) -> None:
    extents = _extents(module)
    for key, change in changes.items():
        if extents.get(key) != change.was:
            raise ModelError(
                f"{ARCHITECTURE} has {name}.{key} = {change.was}, the constructor's is {extents.get(key)}; the task has changed since: run the recipe again"
            )
        kind = type(getattr(module, key))
        setattr(module, key, change.now if kind is int else kind(change.now))


def _fill(module: nn.Module, loaded: Mapping[str, Tensor]) -> None:
    """Put loaded tensors in the place of a module's own; what was shared stays shared."""
    renewed: dict[int, Tensor] = {}
    for name, old in _tensors(module).items():
        owner, _, key = name.rpartition(".")
        new = loaded[name]
        if new.dtype != old.dtype:
            raise ModelError(
                f"{WEIGHTS}: {name} is {new.dtype}, the constructor's is {old.dtype}; the task has changed since: run the recipe again"
            )
        if id(old) not in renewed:
            renewed[id(old)] = (
                nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new
            )
        setattr(module.get_submodule(owner), key, renewed[id(old)])


def _loaded(folder: Path) -> dict[str, Tensor]:
    try:
        return aligned(load_file(folder / WEIGHTS))
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS} can't be read ({error!s:.100}); run the recipe again") from error


def _submodule(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        raise ModelError(
            f"{ARCHITECTURE} names a module {name!r:.80} that the constructor doesn't build; run the recipe again"
        ) from error


def _check_names(found: set[str], known: set[str], constructor: str) -> None:
    if found != known:
        strange, lost = sorted(found - known)[:3], sorted(known - found)[:3]
        raise ModelError(
            f"the network isn't the task's {constructor}: it has {strange} more and {lost} less; run the recipe again"
        )


def _check_smaller(architecture: Architecture) -> None:
    tables = [("", architecture.shapes), *architecture.attributes.items()]
    for module, changes in tables:
        for name, change in changes.items():
            pairs = zip(_row(change.now), _row(change.was), strict=True)
            if not all(1 <= now <= was for now, was in pairs):
                raise ModelError(
                    f"{module} {name} goes from {change.was} to {change.now}; a saved network's extents are 1 or more and never above its constructor's"
                )


def _row(value: Value) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its __init_subclass__ untyped
    """Adds up the MACs of the aten operators that run within it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = _MACS.get(func.overloadpacket.__name__)
        self.macs += count(args, out) if count else 0
        return out


def _run(module: nn.Module, example_inputs: tuple[Tensor, ...], counter: _Counter) -> int:
    training = {part: part.training for part in module.modules()}
    with _every_layer_visible(), torch.no_grad(), counter:
        module.eval()(*(tensor[:1] for tensor in example_inputs))
    for part, mode in training.items():
        part.training = mode
    return counter.macs


def _before_layer(counted: dict[str, int], counter: _Counter, name: str, *_: Any) -> None:
    counted[name] -= counter.macs


def _after_layer(counted: dict[str, int], counter: _Counter, name: str, *_: Any) -> None:
    counted[name] += counter.macs


def _convolution(args: Any, out: Any) -> int:
    x, weight, transposed = args[0], args[1], args[6]
    positions = x.numel() // x.shape[1] if transposed else out.numel() // out.shape[1]
    # weight is [C_out, C_in / groups, *kernel], or [C_in, C_out / groups, *kernel] when transposed
    return int(positions * weight.numel())


def _attention(args: Any, _out: Any) -> int:
    query, key, value = args[0], args[1], args[2]
    scores = prod(query.shape[:-1]) * key.shape[-2]
    return int(scores * (query.shape[-1] + value.shape[-1]))


def _product(left: int) -> Callable[[Any, Any], int]:
    """Return a count for a matrix product whose left factor [..., m, k] is argument `left`."""
    return lambda args, _out: int(args[left].numel() * args[left + 1].shape[-1])


_MACS: Mapping[str, Callable[[Any, Any], int]] = {
    "convolution": _convolution,
    "mm": _product(0),
    "bmm": _product(0),
    "addmm": _product(1),
    "baddbmm": _product(1),
    "mv": lambda args, _out: int(args[0].numel()),
    "dot": lambda args, _out: int(args[0].numel()),
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_attention_math": _attention,
}


@contextmanager
def _every_layer_visible() -> Iterator[None]:
    """Keep torch from running whole layers (attention, recurrent cells) as one opaque operator."""
    fastpath, mkldnn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]  # a property that mypy takes for its descriptor
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        torch.backends.mkldnn.enabled = mkldnn
