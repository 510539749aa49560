"""Load a user's task from "package.module:attribute" or "file.py:attribute".

The file runs: a recipe is trusted like a Makefile. What it raises comes back as one line with the user's own frame.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from pipeline.errors import EdgepressError, TaskError, did_you_mean, one_line, users_frame
from pipeline.provenance import stated
from pipeline.task import LoadedTask, Metric


def load_task(reference: str, *, relative_to: Path, seed: int = 0) -> LoadedTask:
    """Load "package.module:attribute" or "file.py:attribute" (relative to a folder); a class or function is called."""
    where, _, attribute = reference.partition(":")
    if not attribute:
        raise TaskError(f"task {reference!r} names no attribute; write 'module:attribute' or 'file.py:attribute'")
    module, root = _import(where, relative_to)
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise TaskError(f"{where} has no {attribute!r}{did_you_mean(attribute, public)}; name the task in it")
    raw = getattr(module, attribute)
    made = _called(raw, reference, root) if isinstance(raw, type | FunctionType) else raw
    return replace(_checked(made, reference, root=root, seed=seed), origin=(reference, relative_to.absolute()))


def wrap_task(raw: Any, *, seed: int = 0) -> LoadedTask:
    """Make a task object whole; its source's folder is where its class is defined, else the working folder."""
    source = getattr(sys.modules.get(type(raw).__module__), "__file__", None)
    return _checked(raw, type(raw).__name__, root=Path(source).resolve().parent if source else Path.cwd(), seed=seed)


def _checked(raw: Any, reference: str, *, root: Path, seed: int) -> LoadedTask:
    _check_shape(raw, reference)
    stated(raw)
    return LoadedTask(raw=raw, root=root, seed=seed)


def _import(where: str, relative_to: Path) -> tuple[Any, Path]:
    try:
        if not where.endswith(".py"):
            module = importlib.import_module(where)
            return module, _package_root(module)
        return _import_file(relative_to / where)
    except EdgepressError:
        raise
    except (Exception, SystemExit) as error:  # the user's file may raise anything
        root = (relative_to / where).resolve().parent
        raise TaskError(
            f"task file {where} raised {type(error).__name__}: {one_line(error)}{users_frame(error, root)}"
        ) from error


def _package_root(module: ModuleType) -> Path:
    """The folder of the module's outermost package: all of it is the task's source."""
    outermost = sys.modules[module.__name__.partition(".")[0]]
    source = outermost.__file__ or module.__file__
    if source is None:
        raise TaskError(f"task {module.__name__} is a folder without code; name the module in it")
    return Path(source).resolve().parent


def _import_file(path: Path) -> tuple[Any, Path]:
    if not path.is_file():
        raise TaskError(f"no task file {path}; the path is relative to the recipe's folder")
    name = f"edgepress_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))  # its neighbours can be imported; last, so that they shadow nothing
    sys.modules[name] = module  # dataclasses and pickling of the user's own look the module up there
    # Compiled from the text as it is now: Python's cache takes an edit within one second, of equal length, for no edit.
    sys.dont_write_bytecode = True
    exec(compile(path.read_bytes(), str(path.resolve()), "exec"), vars(module))  # noqa: S102  # a recipe runs its author's code  # nosec B102
    return module, path.resolve().parent


def _called(raw: Callable[[], Any], reference: str, root: Path) -> Any:
    try:
        return raw()
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise TaskError(
            f"task {reference} raised {type(error).__name__}: {one_line(error)}{users_frame(error, root)}"
        ) from error


def _check_shape(raw: Any, reference: str) -> None:
    missing = [name for name in ("name", "metric", "data", "student", "score") if not hasattr(raw, name)]
    if missing:
        raise TaskError(
            f"task {reference} lacks {', '.join(missing)}; a task needs name, metric, data(), student() and score()"
        )
    if not isinstance(raw.metric, Metric):
        raise TaskError(f"task {reference}: metric is a {type(raw.metric).__name__}; give pipeline.Metric('accuracy')")
