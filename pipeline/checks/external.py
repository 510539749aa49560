"""Weights in other files: whether they are there, long enough, and inside the model's own folder.

Nothing is opened: a location that is absolute, climbs out of the folder or goes through a link isn't even looked up.
ONNX: https://onnx.ai/onnx/repo-docs/ExternalData.html
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from pipeline.checks.graph import External, Graph


@dataclass(frozen=True)
class Trouble:
    """What is wrong with one location, and the first tensor that names it."""

    code: Literal["external-escapes", "external-missing"]
    message: str
    tensor: str


def troubles(graph: Graph) -> list[Trouble]:
    """Return what is wrong with the other files that a model names, one trouble a location."""
    longest: dict[str, External] = {}
    for each in graph.about.external:
        known = longest.get(each.location)
        longest[each.location] = each if known is None or each.end > known.end else known
    found = (_trouble(graph.path.parent, each) for each in longest.values())
    return [trouble for trouble in found if trouble is not None]


def _trouble(folder: Path, each: External) -> Trouble | None:
    shown = repr(each.location)[:100]
    if why := _escapes(folder, each.location):
        return Trouble("external-escapes", f"weights of {each.tensor[:60]!r} lie in {shown}: {why}", each.tensor)
    path = folder / each.location
    if not path.is_file():
        return Trouble("external-missing", f"weights of {each.tensor[:60]!r} lie in {shown}: no such file", each.tensor)
    if path.stat().st_size < each.end:
        message = f"weights of {each.tensor[:60]!r} end at byte {each.end} of {shown}, which has {path.stat().st_size}"
        return Trouble("external-missing", message, each.tensor)
    return None


def _escapes(folder: Path, location: str) -> str:
    """Say how a location leaves the folder; "" where it doesn't."""
    if not location or "\0" in location:
        return "no name of a file"
    parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
    if PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor:
        return "an absolute path"
    if ".." in parts:
        return "a path out of the model's folder"
    place = folder
    for part in PurePosixPath(location).parts:
        place = place / part
        if place.is_symlink():
            return "a link"
    return ""
