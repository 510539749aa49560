"""Recipe: what to make, as TOML; strict, so that one mistake gives one sentence.

    schema = 1                                   task = "my_task.py:task", relative to the recipe
    name = "leaves"                              stages = ["teach", "distill", "prune", "quantize", "export"]
    seed = 0                                     targets = ["raspberry-pi-4"]

A section `[prune]` sets the stage of that name wherever it stands; `[prune-2]` its second occurrence alone. `[budget]`
lines become verdicts; `student = "auto"` takes one that keeps the budget out of the built-in families (`stages.choose`), `student = "dscnn-32-4"` that network of them; `controls = false` leaves the control rows out, `measure = false` the latencies; `[fit]` says what `edgepress fit` may turn, `[ledger]` that energy is accounted for. What a section
leaves out comes from the target or is the stage's default.
"""

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from pipeline.errors import RecipeError, did_you_mean, root_cause
from pipeline.networks.ladders import read_rung

DEFAULT_STAGES = ("teach", "distill", "prune", "quantize", "export")
PLANNED = ("outputs", "costs", "export_", "ptq_", "file_", "audit", "scheme", "choose", "sensitivity")
"""Beginnings of names of stages that a plan adds by itself; all others may stand in `stages`."""

EXPORTS = ("export_onnx", "export_tflite")
EVERY_TRAINING = "train"
SECTIONS = (*EXPORTS, "audit", "outputs", EVERY_TRAINING)
"""Sections of stages that a plan adds by itself, and [train], which sets all trainings at once."""
MAX_RECIPE_BYTES, MAX_LINE_BYTES = 2**16, 2**12
"""A recipe is a page; the time that tomllib takes grows with the square of a line's length."""

BUILT_IN = Path(__file__).parent / "recipes"


class Budget(BaseModel):
    """The promise: each line becomes a verdict of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_drop: float | None = Field(default=None, ge=0)
    latency_ms: float | None = Field(default=None, gt=0)
    size_kib: float | None = Field(default=None, gt=0)


class LedgerSettings(BaseModel):
    """Where the grid is whose power is used (`country`, ISO 3166, three letters), and what an hour of this machine costs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    country: str = Field(pattern=r"^[A-Z]{3}$")
    price_per_hour: float = Field(default=0, ge=0)
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")


class Search(BaseModel):
    """How `edgepress fit` searches, and what it may turn.

    At most `trials` networks are made, asked for `batch` at a time; the search ends earlier when the budget is kept and `patience` batches in a
    row made the best one cheaper by less than `worthwhile`, or when a batch ends after `hours` have passed or `watt_hours` been used, as [ledger]
    counts them. `space` gives, by setting ("prune.keep_macs"), the values to try; what it names replaces what would be tried by itself, and a
    single value holds a setting fast. `stages` are orders of stages to try.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    trials: int = Field(default=24, ge=1, le=1000)
    hours: float | None = Field(default=None, gt=0, le=10_000)
    watt_hours: float | None = Field(default=None, gt=0, le=1_000_000)
    batch: int = Field(default=4, ge=1, le=64)
    patience: int = Field(default=2, ge=1)
    worthwhile: float = Field(default=0.02, ge=0, lt=1)
    space: dict[str, tuple[bool | int | float | str, ...]] = {}
    stages: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = ()


class Recipe(BaseModel):
    """A recipe as read; `sections` holds each stage's own settings, checked when the steps are planned."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,99}$")
    task: str
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    targets: tuple[str, ...] = Field(min_length=1)
    stages: tuple[str, ...] = Field(default=DEFAULT_STAGES, min_length=1)
    budget: Budget = Budget()
    fit: Search = Search()
    ledger: LedgerSettings | None = None
    devices: dict[str, str] = {}
    student: str = "task"
    controls: bool = True
    measure: bool = True
    sections: dict[str, dict[str, Any]] = {}
    folder: Path = Path()

    @field_validator("student")
    @classmethod
    def _known_student(cls, student: str) -> str:
        if student not in ("task", "auto"):
            try:
                read_rung(student)
            except ValueError as error:
                raise PydanticCustomError("student", '{why}; or "task", "auto"', {"why": str(error)}) from error
        return student

    @property
    def occurrences(self) -> tuple[str, ...]:
        """The stage list with repeated names told apart: ("prune", "prune-2")."""
        return tuple(_occurrence(self.stages, index) for index in range(len(self.stages)))

    def from_anywhere(self) -> "Recipe":
        """Return it for a worker that starts in a folder of its own."""
        return self.model_copy(update={"folder": self.folder.absolute()})

    @property
    def processes(self) -> int:
        """On how many processes it trains at most."""
        return max((int(section.get("devices", 1)) for section in self.sections.values()), default=1)

    def settings_of(self, occurrence: str) -> dict[str, Any]:
        """Return what the recipe says of a stage, where it stands for the nth time: [train] under its [stage] under its own [stage-n]."""
        sections = (EVERY_TRAINING, occurrence.partition("-")[0], occurrence)
        return {key: value for section in sections for key, value in self.sections.get(section, {}).items()}


def read_recipe(path: Path, *, settings: Sequence[str] = (), stages: Sequence[str]) -> Recipe:
    """Read a recipe file; `settings` are "key=value" or "section.key=value", `stages` the known stages' names."""
    data = _parse(_found(path))
    for setting in settings:
        _set(data, setting)
    return recipe_from(data, folder=_found(path).parent, where=str(path), stages=stages)


def recipe_from(data: Mapping[str, Any], *, folder: Path, where: str, stages: Sequence[str]) -> Recipe:
    """Check a recipe's content; `where` names it in messages."""
    usable = (*(name for name in stages if not name.startswith(PLANNED)), "export")
    sections = {key: value for key, value in data.items() if key.partition("-")[0] in {*usable, *SECTIONS}}
    plain = {key: value for key, value in data.items() if key not in sections}
    keys = {"schema", *Recipe.model_fields} - {"schema_", "sections", "folder"}
    _refuse_strays(plain, where, {*keys, *usable})
    try:
        # By way of JSON: strict validation then takes an array for a tuple, and nothing else for anything else.
        content = json.dumps({**plain, "sections": sections}, default=partial(_refuse_value, where))
        recipe = Recipe.model_validate_json(content)
    except ValidationError as error:
        cause = root_cause(
            error,
            {*keys, *usable},
            inside={"budget": Budget.model_fields, "fit": Search.model_fields, "ledger": LedgerSettings.model_fields},
            hidden=("sections",),
        )
        raise RecipeError(f"{where}: {cause}") from error
    except RecursionError as error:
        raise RecipeError(f"{where} nests too deeply; a recipe has sections with plain values") from error
    for order in (recipe.stages, *recipe.fit.stages):
        _check_order(order, where, usable)
    _check_sections(recipe, where)
    return recipe.model_copy(update={"folder": folder})


def _refuse_strays(plain: Mapping[str, Any], where: str, known: set[str]) -> None:
    """Refuse what stands at the top and belongs into [budget], and the names of our own fields."""
    for key in plain:
        if key in Budget.model_fields:
            raise RecipeError(f"{where}: {key!r} stands at the top; put it under [budget]")
        if key in ("sections", "folder"):
            raise RecipeError(f"{where}: unknown key {key!r}; known: {', '.join(sorted(known))}")


def _refuse_value(where: str, value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise RecipeError(
        f"{where}: {value!r:.60} is a {type(value).__name__}, which no key takes; a text stands in quotes"
    )


def _check_sections(recipe: Recipe, where: str) -> None:
    # A trained teacher needs no stage of its own, but its settings may stand there.
    meant = {
        *recipe.stages,
        *recipe.occurrences,
        "teach",
        *(EXPORTS if "export" in recipe.stages else ()),
        *SECTIONS[len(EXPORTS) :],
    }
    for name in recipe.sections:
        if name not in meant:
            raise RecipeError(
                f"{where}: [{name:.60}] sets a stage that isn't in stages = {list(recipe.occurrences)}; add it or drop the section"
            )


def _check_order(order: Sequence[str], where: str, usable: Sequence[str]) -> None:
    for name in order:
        if name not in usable:
            raise RecipeError(f"{where}: no stage {name!r:.60}; known: {', '.join(usable)}{did_you_mean(name, usable)}")
    if "export" in order[:-1]:
        raise RecipeError(f"{where}: export stands before {order[order.index('export') + 1]!r}; export comes last")
    before = [name for name in order if name != "export"]
    if "quantize" in before[:-1]:
        after = before[before.index("quantize") + 1]
        raise RecipeError(
            f"{where}: quantize stands before {after!r}, which would train the rounding away; put quantize last before export: "
            "its training is distilled anyway"
        )
    if "teach" in order[1:]:
        raise RecipeError(f"{where}: teach stands after {order[0]!r}; a teacher comes first")


def _occurrence(stages: Sequence[str], index: int) -> str:
    count = stages[: index + 1].count(stages[index])
    return stages[index] if count == 1 else f"{stages[index]}-{count}"


def _found(path: Path) -> Path:
    """A recipe that ships is found by its bare name."""
    built_in = BUILT_IN / f"{path.name.removesuffix('.toml')}.toml"
    return built_in if not os.path.exists(path) and path.parent == Path() and os.path.exists(built_in) else path  # noqa: PTH110 - false, not an error, where a name is no path


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RECIPE_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        built_in = ", ".join(sorted(found.stem for found in BUILT_IN.glob("*.toml")))
        raise RecipeError(
            f"no recipe {str(path)!r:.200} ({getattr(error, 'strerror', error)}); give a .toml file, or one that ships: {built_in}"
        ) from error
    if len(content) > MAX_RECIPE_BYTES:
        raise RecipeError(f"{path} is larger than {MAX_RECIPE_BYTES} bytes; a recipe is a page of TOML")
    try:
        return tomllib.loads(_text(content))
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is no TOML: {str(error)[:200]}; see `edgepress init` for one that works") from error


def _text(content: bytes) -> str:
    if any(len(line) > MAX_LINE_BYTES for line in content.splitlines()):
        raise ValueError(f"a line is longer than {MAX_LINE_BYTES} bytes")
    return content.decode("utf-8-sig")


def _set(data: dict[str, Any], setting: str) -> None:
    """Apply "section.key=value", the value as TOML writes it or else as a plain text."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {setting!r} is no key=value; write it as --set prune.keep_macs=0.5")
    try:
        parsed = tomllib.loads(f"value = {text}")
        value = parsed["value"] if len(parsed) == 1 else text
    except (ValueError, RecursionError):  # no TOML, or a number of thousands of digits
        value = text
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise RecipeError(f"--set {setting!r}: {section!r} is no section")
    data[last] = value
