"""Errors that a user can act on.

EdgepressError            one line on stderr, exit code 2
├── RecipeError           the recipe, or a --set on the command line, is wrong
├── TaskError             the user's task file fails, or gives what a task must not give
├── TargetError           no such target, or its profile is wrong
├── ModelError            a model file, or an artifact, can't be read or isn't what it claims to be
│   └── ArchiveError      an archive isn't, byte for byte, what `pack` wrote
├── ExportError           a network can't be traced, quantised or converted
├── TeacherError         a teacher isn't worth learning from: exit code 1, as of a gate that failed
├── TrainingError         training can't go on: loss not finite, accuracy collapsed
├── ReportError           a run's folder holds no report, or one that can't be read
├── StoreError            the store can't be read or written: disk full, read-only, locked
├── DeviceError           a device, or a process that runs a model, fails
│   └── RefusedError      a device can't take this file, and may take another
├── WorkerError           a worker of a search dies again and again, or a cluster can't be reached
├── StoppedError          Ctrl-C while a recipe ran: exit code 130
└── MissingExtraError     a part of edgepress that isn't installed

A message says what was asked, what was found, what is allowed and what to do, in one line.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class StoreWarning(UserWarning):
    """Something stored can't be used, and all goes on without it; the command line tells it in one line."""


class EdgepressError(Exception):
    """The root: whatever the user can mend."""

    exit_code = 2


class RecipeError(EdgepressError):
    """The recipe, or a --set on the command line, is wrong."""


class TaskError(EdgepressError):
    """The user's task file fails, or gives what a task must not give."""


class TeacherError(EdgepressError):
    """A teacher isn't worth learning from."""

    exit_code = 1


class TargetError(EdgepressError):
    """No such target, or its profile is wrong."""


class ModelError(EdgepressError):
    """A model file, or an artifact, can't be read or isn't what it claims to be."""


class ArchiveError(ModelError):
    """An archive isn't, byte for byte, what `pack` wrote."""


class ExportError(EdgepressError):
    """A network can't be traced, quantised or converted."""


class TrainingError(EdgepressError):
    """Training can't go on: loss not finite, accuracy collapsed."""


class ReportError(EdgepressError):
    """A run's folder holds no report, or one that can't be read."""


class StoreError(EdgepressError):
    """The store can't be read or written."""


class DeviceError(EdgepressError):
    """A device, or a process that runs a model, fails."""


class RefusedError(DeviceError):
    """A device can't take this file, and may take another; `model` is the file."""

    def __init__(self, message: str, model: Path) -> None:
        super().__init__(message, model)
        self.model = model

    def __str__(self) -> str:
        return str(self.args[0])


class WorkerError(EdgepressError):
    """A worker dies again and again, or a cluster can't be reached."""


class StoppedError(EdgepressError):
    """The user stopped a run, which can go on."""

    exit_code = 130


class MissingExtraError(EdgepressError):
    """A part of edgepress that isn't installed."""


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'X'?" for the nearest known name, or an empty string."""
    close = get_close_matches(found, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def one_line(error: BaseException) -> str:
    """Return an exception's message in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def users_frame(error: BaseException, root: Path) -> str:
    """Return " (file:line in function)" of the innermost frame that lies in the user's folder."""
    frame, found = error.__traceback__, ""
    while frame is not None:
        code = frame.tb_frame.f_code
        if Path(code.co_filename).is_relative_to(root) and "site-packages" not in code.co_filename:
            found = f" ({Path(code.co_filename).name}:{frame.tb_lineno} in {code.co_name})"
        frame = frame.tb_next
    return found


def root_cause(
    error: "ValidationError",
    known: Iterable[str],
    *,
    inside: Mapping[str, Iterable[str]] | None = None,
    hidden: tuple[str, ...] = (),
) -> str:
    """Return one sentence for the first mistake that pydantic found.

    `known` are the keys that are allowed at the top, `inside` those of a section; `hidden` parts of a key aren't the user's.
    An unknown key explains the missing one that it was meant to be, so it is told first.
    """
    first = min(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    where = [str(part) for part in first["loc"] if part not in hidden]
    if first["type"] == "extra_forbidden":
        names = sorted((inside or {}).get(".".join(where[:-1]), known))
        guess = did_you_mean(where[-1], names)
        return f"unknown key {'.'.join(where)!r:.80}{guess}; known: {', '.join(names)}"
    if first["type"] == "missing":
        return f"key {'.'.join(where)!r} is missing"
    problem = first["msg"][:1].lower() + first["msg"][1:]
    return f"key {'.'.join(where)!r:.80}: {problem}; found {first['input']!r:.60}"
