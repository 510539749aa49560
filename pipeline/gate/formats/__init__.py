"""Views of a gate's report, one a file: a module here with `render(report) -> str` is a format of `edgepress check`.

`SUFFIX`, where a module has one, says which files are written in that format when nobody names another.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import RecipeError, did_you_mean
from pipeline.gate.verdict import Report

Render = Callable[[Report], str]


def formats() -> tuple[str, ...]:
    """Return the names of the formats, sorted; imports none of them."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(__path__)))


def renderer(name: str) -> Render:
    """Return a format's `render`; RecipeError when there is no such format."""
    known = formats()
    if name not in known:
        raise RecipeError(f"no format {name!r:.60}; known: {', '.join(known)}{did_you_mean(name, known)}")
    render: Render = importlib.import_module(f"pipeline.gate.formats.{name}").render
    return render


def format_of(path: Path, otherwise: str) -> str:
    """Return the format that a file's suffix asks for, or else the other one."""
    for name in formats():
        if path.suffix == getattr(importlib.import_module(f"pipeline.gate.formats.{name}"), "SUFFIX", None):
            return name
    return otherwise
