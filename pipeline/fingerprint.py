"""Fingerprints of what a user's task holds, so that the store knows what changed and what didn't.

Data counts by content; a network by its structure and first weights; a function by the code that it reaches: its own, and
that of every function, class and constant that it names, as far as these lie in the user's folder. Compiled code is what
counts, so that a changed comment or layout changes nothing; line numbers and file names are left aside.
"""

import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn


def text_fingerprint(*texts: str) -> str:
    """Return the sha256 of some texts, each told from the next."""
    return hashlib.sha256("".join(f"{len(text)}:{text}" for text in texts).encode()).hexdigest()


def sample_fingerprint(value: Any) -> str:
    """Return the sha256 of arrays, tensors, numbers, texts, and of tuples, lists and dicts of them."""
    digest = hashlib.sha256()
    for piece in _pieces(value):
        digest.update(piece)
    return digest.hexdigest()


def network_fingerprint(module: nn.Module) -> str:
    """Return the sha256 of a network's printed structure and of its parameters and buffers."""
    return text_fingerprint(repr(module), sample_fingerprint(dict(module.state_dict())))


def code_fingerprint(function: Any, root: Path) -> str:
    """Return the sha256 of the code that `function` reaches within the folder `root`."""
    reached: dict[str, str] = {}
    _reach(function, root.resolve(), reached)
    return text_fingerprint(*(f"{name} {reached[name]}" for name in sorted(reached)))


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype} {value.shape} ".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield from _pieces([[str(key), value[key]] for key in sorted(value, key=str)])
    elif isinstance(value, tuple | list):
        yield f"{len(value)} of ".encode()
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, bytes):
        yield f"bytes {len(value)} ".encode() + value
    else:
        yield f"{type(value).__name__} {value!r} ".encode()


def _reach(value: Any, root: Path, reached: dict[str, str]) -> None:
    """Note in `reached` what `value` is and, where it lies in `root`, what it names."""
    if isinstance(value, functools.partial):
        reached[f"partial {value.func!r}"] = repr((value.args, value.keywords))
        _reach(value.func, root, reached)
    elif isinstance(value, MethodType):
        _reach_function(value.__func__, root, reached, owner=value.__self__)
    elif isinstance(value, FunctionType):
        _reach_function(inspect.unwrap(value), root, reached, owner=None)
    elif isinstance(value, type) and _lies_in(value, root) and _name(value) not in reached:
        reached[_name(value)] = "class"
        for member in (*value.__bases__, *_members(value)):
            _reach(member, root, reached)


def _reach_function(function: Any, root: Path, reached: dict[str, str], *, owner: Any) -> None:
    name = _name(function)
    if name in reached or not isinstance(function, FunctionType) or not _lies_in(function, root):
        return
    reached[name] = _code_text(function.__code__) + repr(function.__defaults__)
    names = _names_of(function.__code__)
    closed = dict(
        zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=False)
    )
    scopes = [closed, function.__globals__, *(_own_attributes(owner) if owner is not None else [])]
    for scope in scopes:
        for used in names & scope.keys():
            _reach_named(f"{name}.{used}", scope[used], root, reached, names=names)


def _reach_named(where: str, value: Any, root: Path, reached: dict[str, str], *, names: set[str]) -> None:
    if isinstance(value, ModuleType):
        if _lies_in(value, root):
            for used in names & vars(value).keys():
                _reach_named(f"{where}.{used}", vars(value)[used], root, reached, names=names)
    elif isinstance(value, FunctionType | MethodType | functools.partial | type):
        _reach(value, root, reached)
    elif isinstance(value, int | float | str | bytes | tuple | list | dict | np.ndarray | torch.Tensor | None):
        reached[where] = sample_fingerprint(value)


def _own_attributes(owner: Any) -> list[Mapping[str, Any]]:
    """Return what `self.x` can mean inside a method: the object's values, and its class's methods bound to it."""
    methods = {
        name: getattr(owner, name) for name, value in vars(type(owner)).items() if isinstance(value, FunctionType)
    }
    constants = {
        name: value for name, value in vars(type(owner)).items() if name not in methods and not name.startswith("__")
    }
    return [{**methods, **constants, **getattr(owner, "__dict__", {})}]


def _members(owner: type) -> Iterator[Any]:
    for value in vars(owner).values():
        if isinstance(value, staticmethod | classmethod):
            yield value.__func__
        elif isinstance(value, property):
            yield value.fget
        else:
            yield value


def _code_text(code: CodeType) -> str:
    constants = (_code_text(value) if isinstance(value, CodeType) else _constant(value) for value in code.co_consts)
    return text_fingerprint(code.co_code.hex(), *code.co_names, *code.co_varnames, *constants)


def _constant(value: Any) -> str:
    """Return a constant's text; a set's order differs from process to process, so it is sorted."""
    return f"frozenset {sorted(map(repr, value))}" if isinstance(value, frozenset) else repr(value)


def _names_of(code: CodeType) -> set[str]:
    inner = (_names_of(value) for value in code.co_consts if isinstance(value, CodeType))
    return set(code.co_names) | set(code.co_freevars) | set().union(*inner)


def _lies_in(value: Any, root: Path) -> bool:
    try:
        return Path(inspect.getfile(value)).resolve().is_relative_to(root)
    except TypeError:  # built-in, or made without a file
        return False


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
