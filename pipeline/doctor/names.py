"""Names: `pipeline`, `targets` and `devices` are common words, and another package of that name may be imported in our place."""

import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from pipeline.doctor.finding import Finding

NAMES = ("pipeline", "targets", "devices")
OURS = Path(__file__).parents[2]
"""The folder that holds our three packages."""


def findings() -> Iterator[Finding]:
    """Say which of the names something else has as well, and which of the two is imported."""
    found = [*_on_the_path(), *_in_one_folder(), *_here()]
    yield from found or [Finding("names", f"{', '.join(NAMES)} are edgepress's own, in {OURS}")]


def _on_the_path() -> Iterator[Finding]:
    for name in NAMES:
        others = [place for place in _places(sys.path, name) if place.parent != OURS]
        if not others:
            continue
        if _imported(name) == OURS:
            yield Finding(
                f"name {name}",
                f"also {_list(others)}, hidden by ours",
                "note",
                f"`import {name}` gives edgepress's; use two environments if you need the other",
            )
        else:
            advice = f"take {others[0].parent} out of PYTHONPATH, or uninstall what brings it, or use two environments"
            yield Finding(f"name {name}", f"{others[0]} is imported in the place of ours", "wrong", advice)


def _in_one_folder() -> Iterator[Finding]:
    """Yield distributions that installed files into a package of ours: those installed last have overwritten the others."""
    for distribution in distributions():
        record = distribution.read_text("RECORD") or ""
        taken = [top for top in NAMES if f"\n{top}/" in f"\n{record}"]
        if taken and (name := distribution.metadata["Name"]) != "edgepress":
            advice = f"pip uninstall {name}, then pip install --force-reinstall edgepress; or use two environments"
            yield Finding(f"name {taken[0]}", f"{name} brings {', '.join(taken)} too", "wrong", advice)


def _here() -> Iterator[Finding]:
    """Yield what a script that is started in this folder would import in our place."""
    folder = Path.cwd()
    if folder == OURS or str(folder) in sys.path:
        return
    for place in (place for name in NAMES for place in _places([str(folder)], name)):
        advice = f"`edgepress` is not misled; a script started here is: rename {place.name}, or start it with python -P"
        yield Finding(f"name {place.stem}", f"{place} in this folder", "note", advice)


def _places(entries: list[str], name: str) -> list[Path]:
    """Return the packages and modules of a name in folders; a folder without `__init__.py` never wins over one that has it."""
    found = [Path(entry or ".").absolute() / way for entry in entries for way in (name, f"{name}.py")]
    return [place for place in dict.fromkeys(found) if place.is_file() or (place / "__init__.py").is_file()]


def _imported(name: str) -> Path | None:
    """Return the folder that holds what an import of the name gives; a package that is imported already stays."""
    spec = find_spec(name)
    return Path(spec.origin).parents[1] if spec and spec.origin and spec.origin.endswith("__init__.py") else None


def _list(places: list[Path]) -> str:
    return ", ".join(map(str, places))
