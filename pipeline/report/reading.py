"""Read what a run left: `report.json` of each target, and a search's `fit.json` where one lies beside.

The files may be anyone's: their size is bounded, their numbers are finite, and whatever is wrong with them is one line.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ReportError, root_cause
from pipeline.report.model import Report
from pipeline.report.text import sheets
from pipeline.report.toml import toml

MOST_BYTES = 2**23
MOST_TARGETS = 64
LARGEST = 2**63
WANTED = "give the folder that `edgepress run --out` wrote, or one target's folder in it"
T = TypeVar("T", bound=BaseModel)


class _Loose(BaseModel):
    """What is read of a file that holds more."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class TrialFitness(_Loose):
    """What a trial's network is on one target: the upper end of what it loses, and its cost."""

    target: str
    score: float
    drop_high: float
    size_kib: float
    cost: float
    quantity: str
    unit: str
    label: str


class Trial(_Loose):
    """One network of a search."""

    number: int
    settings: dict[str, Any]
    fitness: tuple[TrialFitness, ...]


class Trials(_Loose):
    """A search, as far as it is drawn."""

    recipe: str
    why: str
    budget: dict[str, float]
    chosen: int | None
    front: tuple[int, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Run:
    """A run's reports, one a target, and its search; `folder` is where it lies."""

    folder: Path
    reports: tuple[Report, ...]
    trials: Trials | None = None

    @property
    def name(self) -> str:
        """What it is called: its recipe's name."""
        return ", ".join(dict.fromkeys(report.recipe for report in self.reports))


def read_run(folder: Path) -> Run:
    """Return the reports in a run's folder or in a target's; ReportError where there is none, or it can't be read."""
    found = [folder / "report.json"] if (folder / "report.json").is_file() else sorted(folder.glob("*/report.json"))
    if not found:
        raise ReportError(f"no report.json in {str(folder)!r:.200}; {WANTED}")
    if len(found) > MOST_TARGETS:
        raise ReportError(f"{folder} holds {len(found)} reports; a page takes {MOST_TARGETS}, name one target's folder")
    return run_of(folder, [_report(path) for path in found])


def run_of(folder: Path, reports: Sequence[Report]) -> Run:
    """Return reports as a run, in the order of their recipe's targets, with the search that lies beside."""

    def place(report: Report) -> int:
        targets = report.reproduction.recipe.get("targets") if report.reproduction else None
        return targets.index(report.target) if isinstance(targets, list) and report.target in targets else MOST_TARGETS

    return Run(folder, tuple(sorted(reports, key=place)), read_trials(folder))


def read_trials(folder: Path) -> Trials | None:
    """Return the search in a folder, None where none was made there."""
    path = folder / "fit.json"
    return _read(path, Trials) if path.is_file() else None


def _report(path: Path) -> Report:
    report = _read(path, Report)
    try:
        # Parts without a schema of their own are read here first.
        sheets(report)
        if report.reproduction:
            toml(report.reproduction.recipe)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        raise ReportError(
            f"{path} can't be shown: a part of it isn't as this version writes it ({error!r:.80}); {AGAIN}"
        ) from error
    return report


AGAIN = "run the recipe again"


def _read(path: Path, kind: type[T]) -> T:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ReportError(f"can't read {path} ({error.strerror}); {WANTED}") from error
    if len(content) > MOST_BYTES:
        raise ReportError(f"{path} is larger than {MOST_BYTES // 2**20} MiB; {AGAIN}")
    try:
        data = json.loads(content, parse_constant=_refuse)
        _check(data)
        return kind.model_validate(data)
    except ValidationError as error:
        raise ReportError(f"{path}: {root_cause(error, kind.model_fields)}; {AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is no JSON that a run wrote ({str(error)[:80]}); {AGAIN}") from error


def _refuse(name: str) -> None:
    raise ValueError(f"it holds {name}")


def _check(value: Any) -> None:
    """Refuse numbers that no chart can show, and texts that can't be written; ValueError."""
    if isinstance(value, dict | list):
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(part)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:  # nor is NaN
        raise ValueError("it holds a number that is out of all proportion")
