"""What a function reaches: its compiled code, and all that this names, as far as it lies in the user's folder.

Followed are functions, methods, classes, partials, closures, decorators, modules, objects of the user's own classes, and imports
inside a function. What lies outside (a library, `site-packages` even where a virtual environment stands in the user's
folder) counts by its name alone; libraries' versions are in the store's keys. Compiled code is what counts: a changed
comment, layout or docstring changes nothing. Of an object that a method only asks for attributes (`self.rate`), those attributes
count; an object that is handed on counts whole. What is reached only through a name built at run time
(`getattr(self, "x" + y)` on a module) isn't seen.
"""

import dis
import functools
import importlib
import importlib.util
import inspect
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

Line: TypeAlias = Any
"""A text, or a value whose content counts: a number, a text, an array, a tensor, a network."""

CONTENT = (int, float, complex, bytes, type(None), type(...), np.ndarray, np.generic, torch.Tensor)
FOREIGN_FOLDERS = ("site-packages", "dist-packages")
READS_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
READS_VARIABLE = (*READS_GLOBAL, "LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLASSDEREF")
ASKS_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR")


def reach(value: Any, root: Path) -> list[Line]:
    """Return lines that are equal exactly when what `value` reaches in the folder `root` is equal, in any process."""
    walk = _Walk(root.resolve())
    walk.visit("", value)
    return walk.go()


@dataclass(frozen=True)
class _Uses:
    """What a function's code, and the functions inside it, name; `bare` variables are used otherwise than by attribute."""

    variables: frozenset[str]
    attributes: frozenset[str]
    bare: frozenset[str]
    imports: frozenset[tuple[str, int]]


@dataclass
class _Walk:
    """One traversal, in an order that is the same in every process. `seen` keeps what it visited alive, for ids' sake."""

    root: Path
    lines: list[Line] = field(default_factory=list)
    seen: dict[tuple[int, ...], tuple[int, Any]] = field(default_factory=dict)
    pending: deque[tuple[str, Any, _Uses | None]] = field(default_factory=deque)

    def go(self) -> list[Line]:
        """Visit all that is pending, one after the other: long chains of calls need no deep stack."""
        while self.pending:
            where, value, uses = self.pending.popleft()
            self.lines.append(where)
            self._look(value, uses)
        return self.lines

    def visit(self, where: str, value: Any, uses: _Uses | None = None) -> None:
        """Put a value under a name on the list; `uses`, where given, are what the code that names it asks of it."""
        self.pending.append((where, value, uses))

    def _look(self, value: Any, uses: _Uses | None) -> None:
        if isinstance(value, str):
            self.lines.append(f"text {value}")
        elif isinstance(value, CONTENT):
            self.lines.append(value)
        elif isinstance(value, ModuleType):
            self._module(value, uses)
        elif isinstance(value, MethodType) and isinstance(value.__self__, type):
            self.visit("of", value.__self__)
            self._function(value.__func__)
        elif isinstance(value, MethodType):
            self._function(value.__func__, owner=value.__self__)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        else:
            self._object(value, uses)

    def _new(self, *values: Any) -> bool:
        """Say whether this is the first visit; a later one is noted as a reference."""
        key = tuple(map(id, values))
        if key in self.seen:
            self.lines.append(f"seen {self.seen[key][0]}")
            return False
        self.seen[key] = (len(self.seen), values)
        return True

    def _module(self, module: ModuleType, uses: _Uses | None) -> None:
        self.lines.append(f"module {_tidy(module.__name__)}")
        if self._is_ours(module) and self._new(module, uses):
            wanted = vars(module).keys() & uses.attributes if uses else ()
            for name in sorted(wanted):
                self.visit(name, vars(module)[name], uses)

    def _class(self, kind: type) -> None:
        self.lines.append(f"class {_name(kind)}")
        if not self._is_ours(kind) or not self._new(kind):
            return
        self.visit("bases", list(kind.__bases__))
        self.visit("fields", list(vars(kind).get("__annotations__", {})))
        for name, member in sorted(vars(kind).items()):
            if not name.startswith(("__", "_abc_")) or isinstance(member, FunctionType):
                self.visit(name, member)

    def _function(self, function: Any, owner: Any = None) -> None:
        self.lines.append(f"function {_name(function)}")
        if not self._new(function, *([] if owner is None else [owner])):
            return
        if hasattr(function, "__wrapped__"):
            self.visit("wrapped", function.__wrapped__)
        if not isinstance(function, FunctionType) or not self._is_ours(function):
            return
        uses = _uses_of(function.__code__)
        self.lines.append(_code_text(function.__code__))
        self.visit("defaults", [function.__defaults__, function.__kwdefaults__])
        self._variables(function, uses, owner)
        if owner is not None:
            first = next(iter(function.__code__.co_varnames), "")
            self._attributes(owner, uses, whole=first in uses.bare)

    def _variables(self, function: FunctionType, uses: _Uses, owner: Any) -> None:
        """Note the globals and the closure's variables that a function reads, and what it imports."""
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        closed = {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
        if owner is not None:  # `super()` keeps the class; the owner's attributes are noted one by one
            closed.pop("__class__", None)
        scope = {
            **{name: function.__globals__[name] for name in uses.variables & function.__globals__.keys()},
            **closed,
        }
        for name in sorted(scope):
            narrow = None if name in uses.bare and not isinstance(scope[name], ModuleType) else uses
            self.visit(name, scope[name], narrow)
        for name, level in sorted(uses.imports):
            self._import(name, level, function)

    def _import(self, name: str, level: int, function: FunctionType) -> None:
        """Note a module of the user's that a function imports when it is called."""
        try:
            full = importlib.util.resolve_name("." * level + name, function.__globals__.get("__package__"))
            spec = importlib.util.find_spec(full)
        except (ImportError, ValueError, AttributeError):  # not there: what the function does then is its own affair
            return
        if spec is not None and spec.origin is not None and self._holds(spec.origin):
            self.visit(full, sys.modules.get(full) or importlib.import_module(full), _uses_of(function.__code__))

    def _object(self, value: Any, uses: _Uses | None) -> None:
        """Note a container, an object of the user's, or a library's object."""
        wrapped = _wrapped(value)
        if wrapped:
            self.lines.append(f"{type(value).__name__} of {len(wrapped)}")
            for part in wrapped:
                self.visit("part", part)
        elif isinstance(value, Mapping | list | tuple | AbstractSet):
            self._container(value)
        elif self._is_ours(type(value)):
            self._attributes(value, uses, whole=uses is None)
        elif isinstance(value, nn.Module):
            self.lines.append(value)
        elif callable(value):
            self.lines.append(f"callable {_name(value)}")
        else:
            said = "" if "__repr__" not in _defines(type(value)) else f" {_tidy(repr(value))}"
            self.lines.append(f"object {_name(type(value))}{said}")

    def _container(self, value: Any) -> None:
        self.lines.append(f"{type(value).__name__} of {len(value)}")
        if isinstance(value, AbstractSet):
            self.lines.extend(sorted(map(_tidy, map(repr, value))))
        elif self._new(value):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, item in items:
                self.visit(_tidy(repr(key)), item)

    def _attributes(self, owner: Any, uses: _Uses | None, *, whole: bool) -> None:
        """Note what an object of the user's holds: all of it, or what `uses` asks for."""
        self.lines.append(f"object of {_name(type(owner))}")
        narrow = None if whole else uses
        if not self._new(owner, narrow):
            return
        if narrow is None:
            self._class(type(owner))
        if isinstance(owner, nn.Module):
            self.lines.append(owner)
        own = dict(getattr(owner, "__dict__", {}))
        own.update({name: getattr(owner, name) for name in _slots(type(owner)) if hasattr(owner, name)})
        wanted = own.keys() if narrow is None else own.keys() & narrow.attributes
        for name in sorted(wanted):
            self.visit(name, own[name])
        if narrow is not None:
            self._members(owner, narrow)

    def _members(self, owner: Any, uses: _Uses) -> None:
        """Note what an object's classes define under the names that `uses` asks for, the overridden ones too."""
        for kind in type(owner).__mro__:
            for name in sorted(vars(kind).keys() & uses.attributes) if self._is_ours(kind) else ():
                self.visit(f"{kind.__qualname__}.{name}", _bound(vars(kind)[name], owner))

    def _is_ours(self, value: Any) -> bool:
        try:
            return self._holds(inspect.getfile(value))
        except (TypeError, OSError):  # built-in, or made without a file
            return False

    def _holds(self, file: str) -> bool:
        """Generated code ("<string>") is no file; a virtual environment in the user's folder isn't the user's code."""
        path = Path(file)
        if file.startswith("<") or not path.resolve().is_relative_to(self.root):
            return False
        return not set(path.resolve().relative_to(self.root).parts) & set(FOREIGN_FOLDERS)


@functools.cache
def _uses_of(code: CodeType) -> _Uses:
    inner = [_uses_of(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("EXTENDED_ARG", "CACHE", "PRECALL")]
    following = [*(step.opname for step in steps[1:]), ""]
    levels = {step.offset: steps[index - 2].argval for index, step in enumerate(steps) if step.opname == "IMPORT_NAME"}
    return _Uses(
        variables=frozenset(step.argval for step in steps if step.opname in READS_GLOBAL).union(
            *(used.variables for used in inner)
        ),
        attributes=frozenset(step.argval for step in steps if step.opname in (*ASKS_ATTRIBUTE, "IMPORT_FROM")).union(
            *(used.attributes for used in inner)
        ),
        bare=frozenset(
            step.argval
            for step, after in zip(steps, following, strict=True)
            if step.opname in READS_VARIABLE and after not in ASKS_ATTRIBUTE
        ).union(*(used.bare for used in inner)),
        imports=frozenset((step.argval, levels[step.offset]) for step in steps if step.opname == "IMPORT_NAME").union(
            *(used.imports for used in inner)
        ),
    )


def _code_text(code: CodeType) -> str:
    """Return all that a function's code does; line numbers, file names and docstrings are left aside."""
    head = (code.co_flags, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return repr((code.co_code, head, names, code.co_exceptiontable, [_constant(value) for value in _constants(code)]))


def _constants(code: CodeType) -> Iterator[Any]:
    """Give the constants; the first of a function (not of a class or a comprehension) is its docstring or None."""
    is_function = bool(code.co_flags & inspect.CO_OPTIMIZED) and not code.co_name.startswith("<")
    for index, value in enumerate(code.co_consts):
        yield None if index == 0 and is_function and isinstance(value, str) else value


def _constant(value: Any) -> str:
    """Return a constant's text; a set's order differs from process to process, so it is sorted."""
    if isinstance(value, CodeType):
        return _code_text(value)
    if isinstance(value, frozenset):
        return f"frozenset {sorted(map(_constant, value))}"
    return f"({', '.join(map(_constant, value))},)" if isinstance(value, tuple) else repr(value)


def _wrapped(value: Any) -> tuple[Any, ...]:
    """Return what a partial, a descriptor or a wrapper (functools.lru_cache and its like) stands around."""
    if isinstance(value, functools.partial):
        return value.func, value.args, value.keywords
    if isinstance(value, property):
        return value.fget, value.fset, value.fdel
    if isinstance(value, functools.cached_property):
        return (value.func,)
    return (value.__wrapped__,) if hasattr(value, "__wrapped__") else ()


def _bound(member: Any, owner: Any) -> Any:
    """Return a class's member as its object sees it, so that its `self` is followed too."""
    function = member.fget if isinstance(member, property) else getattr(member, "func", member)
    return MethodType(function, owner) if isinstance(function, FunctionType) else member


def _defines(kind: type) -> set[str]:
    """Return the names that a class and its parents define, `object` left aside."""
    return {name for parent in kind.__mro__ if parent is not object for name in vars(parent)}


def _slots(kind: type) -> Iterator[str]:
    for parent in kind.__mro__:
        slots = vars(parent).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a variable that isn't bound yet
        return False


def _name(value: Any) -> str:
    kind = value if hasattr(value, "__qualname__") else type(value)
    name = getattr(value, "__name__", "") if kind is not value else ""
    return _tidy(f"{getattr(kind, '__module__', '')}.{kind.__qualname__} {name}")


def _tidy(text: str) -> str:
    """An address differs from process to process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
