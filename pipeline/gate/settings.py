"""`edgepress.toml`: what CI checks, committed beside the code, so that the line in the workflow is `edgepress check`.

    schema = 1
    models = ["build/*/model.tflite"]          # globs from this file's folder
    targets = ["raspberry-pi-4"]
    baseline = "edgepress-baseline.json"
    waivers = "edgepress-waivers.toml"
    reference = "build/teacher.onnx"           # with `samples`: every model is compared with it
    samples = "tests/samples.npz"
    device = "qemu"                            # for every target; a board names its own under [devices]

    [budget]
    size_kib = 56
    [devices]
    pixel-8 = "adb"
    [promise]                                  # what the files are meant to be, where that can't be inferred
    int8 = "all"

    [[check]]                                  # further groups; what one leaves out comes from the top
    models = ["build/phone/*.onnx"]
    targets = ["pixel-8"]
    budget = { latency_ms = 2.0 }

Keys are strict: an unknown one is an error with its nearest neighbour. Paths are relative to the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.checks.finding import Promises
from pipeline.errors import RecipeError, root_cause
from pipeline.gate.budget import checked_budget
from pipeline.gate.waivers import read_toml
from pipeline.places import EVERY

FILE_NAME = "edgepress.toml"
MAX_SETTINGS_BYTES = 2**16
MAX_MODELS = 1000


class Promise(BaseModel):
    """What files are meant to be: the fields of the lint's `Promises`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    int8: Literal["all", "some", "none"]
    input_type: str | None = None
    output_type: str | None = None
    dynamic_batch: bool | None = None


class Group(BaseModel):
    """Models that are checked alike."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    models: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    budget: dict[str, float] = {}
    reference: str | None = None
    samples: str | None = None
    device: str | None = None
    devices: dict[str, str] = {}
    promise: Promise | None = None


class Settings(Group):
    """The file."""

    schema_: Literal[1] = Field(alias="schema")
    baseline: str | None = None
    waivers: str | None = None
    check: tuple[Group, ...] = ()


@dataclass(frozen=True)
class Job:
    """Models, what they are judged for, and by which limits; `patterns` are the globs that named them."""

    models: tuple[Path, ...]
    patterns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    budget: Mapping[str, float] = field(default_factory=dict)
    reference: Path | None = None
    samples: Path | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    promises: Promises | None = None


@dataclass(frozen=True)
class Order:
    """All that one run checks."""

    jobs: tuple[Job, ...]
    baseline: Path | None = None
    waivers: Path | None = None
    update_baseline: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Changes:
    """What the command line sets in place of a file of settings; budgets are merged key by key."""

    targets: tuple[str, ...] = ()
    budget: Mapping[str, float] = field(default_factory=dict)
    reference: Path | None = None
    samples: Path | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    baseline: Path | None = None
    waivers: Path | None = None


def order_of(models: Sequence[Path], config: Path | None, changes: Changes) -> Order:
    """Return what to check: files, by the settings of `config` or of an edgepress.toml that is there, and the changes."""
    path = config or (Path(FILE_NAME) if Path(FILE_NAME).is_file() else None)
    if path is not None:
        order = read_settings(path, models)
    elif models:
        order = Order((Job(tuple(models)),))
    else:
        raise RecipeError(f"no model named, and there is no {FILE_NAME} here; give one or more .onnx or .tflite files")
    return _overlaid(order, changes)


def read_settings(path: Path, models: Sequence[Path] = ()) -> Order:
    """Read a file of settings; with `models`, check these alone, each as its group says, or else as the top says."""
    settings = _parse(path)
    folder = path.parent
    top = _job(settings, folder)
    groups = [_job(_filled(settings, group), folder) for group in settings.check]
    if models:
        chosen = tuple(_as_its_group(model, [*groups, top], top, path) for model in models)
    else:
        chosen = tuple(
            replace(job, models=_globbed(job.patterns, folder, path)) for job in (top, *groups) if job.patterns
        )
    if not chosen:
        raise RecipeError(f"{path} names no models; add models = ['build/*.tflite'], or name files on the command line")
    return Order(chosen, _beside(folder, settings.baseline), _beside(folder, settings.waivers))


def _overlaid(order: Order, changes: Changes) -> Order:
    jobs = tuple(
        replace(
            job,
            targets=changes.targets or job.targets,
            budget={**job.budget, **changes.budget},
            reference=changes.reference or job.reference,
            samples=changes.samples or job.samples,
            places={**job.places, **changes.places},
        )
        for job in order.jobs
    )
    return replace(
        order, jobs=jobs, baseline=changes.baseline or order.baseline, waivers=changes.waivers or order.waivers
    )


def _parse(path: Path) -> Settings:
    content = read_toml(path, "settings", MAX_SETTINGS_BYTES)
    try:
        # By way of JSON: strict validation then takes an array for a tuple, and nothing else for anything else.
        settings = Settings.model_validate_json(json.dumps(content, default=str))
    except ValidationError as error:
        keys = set(Settings.model_fields) - {"schema_"} | {"schema"}
        inside: dict[str, Any] = {"promise": Promise.model_fields}
        inside |= {f"check.{number}": Group.model_fields for number in range(len(_tables(content)))}
        raise RecipeError(f"{path}: {root_cause(error, keys, inside=inside)}") from error
    for group in (settings, *settings.check):
        checked_budget(group.budget, f"{path}, [budget]")
        if (group.reference is None) != (group.samples is None):
            raise RecipeError(f"{path}: reference and samples belong together; give both, or neither")
    return settings


def _tables(content: Mapping[str, object]) -> list[object]:
    tables = content.get("check")
    return tables if isinstance(tables, list) else []


def _filled(settings: Settings, group: Group) -> Group:
    top = {name: getattr(settings, name) for name in Group.model_fields}
    own = {name: getattr(group, name) for name in group.model_fields_set}
    budget = {**settings.budget, **group.budget}
    return Group(**{**top, "models": (), **own, "budget": budget})


def _job(group: Group, folder: Path) -> Job:
    return Job(
        models=(),
        patterns=group.models,
        targets=tuple(_target(folder, name) for name in group.targets),
        budget=group.budget,
        reference=_beside(folder, group.reference),
        samples=_beside(folder, group.samples),
        places={**({EVERY: group.device} if group.device else {}), **group.devices},
        promises=_promises(group.promise),
    )


def _promises(promise: Promise | None) -> Promises | None:
    return Promises(**promise.model_dump()) if promise else None


def _globbed(patterns: Sequence[str], folder: Path, path: Path) -> tuple[Path, ...]:
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = _matches(folder, pattern, path)
        if not matches:
            raise RecipeError(f"{path}: no file fits models = {pattern!r:.120}; export it first, or mend the pattern")
        found |= dict.fromkeys(matches)
    if len(found) > MAX_MODELS:
        raise RecipeError(f"{path}: models fits {len(found)} files, above {MAX_MODELS}; narrow the pattern")
    return tuple(found)


def _matches(folder: Path, pattern: str, path: Path) -> list[Path]:
    plain = folder / pattern
    try:
        plain.resolve()  # a NUL is an error here, and no match for glob
        return [plain] if plain.is_file() else sorted(match for match in folder.glob(pattern) if match.is_file())
    except (
        OSError,
        ValueError,
        NotImplementedError,
        IndexError,
        AttributeError,
    ) as error:  # the last for "./", by pathlib
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(
            f"{path}: models = {pattern!r:.120} is no pattern of relative paths ({reason!s:.120})"
        ) from error


def _as_its_group(model: Path, jobs: Sequence[Job], top: Job, path: Path) -> Job:
    own = next((job for job in jobs if any(_named(model, pattern, path.parent, path) for pattern in job.patterns)), top)
    return replace(own, models=(model,))


def _named(model: Path, pattern: str, folder: Path, path: Path) -> bool:
    return model.resolve() in {match.resolve() for match in (*_matches(folder, pattern, path), folder / pattern)}


def _target(folder: Path, name: str) -> str:
    return str(folder / name) if name.endswith(".toml") else name


def _beside(folder: Path, name: str | None) -> Path | None:
    return None if name is None else folder / name
