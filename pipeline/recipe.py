"""Recipe: what to make, as TOML; strict, so that one mistake gives one sentence.

    schema = 1                                   task = "my_task.py:task", relative to the recipe
    name = "leaves"                              stages = ["teach", "distill", "prune", "quantize", "export"]
    seed = 0                                     targets = ["raspberry-pi-4"]

A section `[prune]` sets the stage of that name wherever it stands; `[prune-2]` its second occurrence alone. `[budget]`
lines become verdicts. What a section leaves out comes from the target or is the stage's default.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import RecipeError, did_you_mean, root_cause

DEFAULT_STAGES = ("teach", "distill", "prune", "quantize", "export")
MAX_RECIPE_BYTES = 2**20
BUILT_IN = Path(__file__).parent / "recipes"


class Budget(BaseModel):
    """The promise: each line becomes a verdict of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_drop: float | None = Field(default=None, ge=0)
    latency_ms: float | None = Field(default=None, gt=0)
    size_kib: float | None = Field(default=None, gt=0)


class Recipe(BaseModel):
    """A recipe as read; `sections` holds each stage's own settings, checked when the steps are planned."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_: Literal[1] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    task: str
    seed: int = Field(default=0, ge=0)
    targets: tuple[str, ...] = Field(min_length=1)
    stages: tuple[str, ...] = Field(default=DEFAULT_STAGES, min_length=1)
    budget: Budget = Budget()
    devices: dict[str, str] = {}
    controls: bool = True
    sections: dict[str, dict[str, Any]] = {}
    folder: Path = Path()

    @property
    def occurrences(self) -> tuple[str, ...]:
        """The stage list with repeated names told apart: ("prune", "prune-2")."""
        return tuple(_occurrence(self.stages, index) for index in range(len(self.stages)))


def read_recipe(path: Path, *, settings: Sequence[str] = (), stages: Sequence[str]) -> Recipe:
    """Read a recipe file; `settings` are "key=value" or "section.key=value", `stages` the known stages' names."""
    data = _parse(_found(path))
    for setting in settings:
        _set(data, setting)
    return recipe_from(data, folder=_found(path).parent, where=str(path), stages=stages)


def recipe_from(data: Mapping[str, Any], *, folder: Path, where: str, stages: Sequence[str]) -> Recipe:
    """Check a recipe's content; `where` names it in messages."""
    known = {*stages, "export"}
    names = [name for name in data.get("stages", DEFAULT_STAGES) if isinstance(name, str)]
    sections = {key: value for key, value in data.items() if key.partition("-")[0] in known}
    plain = {key: value for key, value in data.items() if key not in sections}
    try:
        # By way of JSON: strict validation then takes an array for a tuple, and nothing else for anything else.
        recipe = Recipe.model_validate_json(json.dumps({**plain, "sections": sections}, default=str))
    except ValidationError as error:
        keys = {"schema", *Recipe.model_fields, *known} - {"schema_", "sections", "folder"}
        raise RecipeError(f"{where}: {root_cause(error, {*keys, *Budget.model_fields})}") from error
    recipe = recipe.model_copy(update={"folder": folder})
    _check_stages(recipe, where, known, names)
    return recipe


def _check_stages(recipe: Recipe, where: str, known: set[str], names: Sequence[str]) -> None:
    usable = ("teach", "distill", "prune", "quantize", "export")
    for name in names:
        if name not in usable:
            raise RecipeError(f"{where}: no stage {name!r}; known: {', '.join(usable)}{did_you_mean(name, usable)}")
    unused = [name for name in recipe.sections if name not in recipe.occurrences and name not in recipe.stages]
    meant = [name for name in unused if name.partition("-")[0] not in known - {"export"} or name in usable]
    if meant and meant[0] != "teach":
        raise RecipeError(
            f"{where}: [{meant[0]}] sets a stage that isn't in stages = {list(recipe.stages)}; add it or drop the section"
        )
    _check_order(recipe, where)


def _check_order(recipe: Recipe, where: str) -> None:
    order = recipe.stages
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
    return built_in if not path.exists() and path.parent == Path() and built_in.exists() else path


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        built_in = ", ".join(sorted(found.stem for found in BUILT_IN.glob("*.toml")))
        raise RecipeError(
            f"no recipe {path} ({error.strerror}); give a .toml file, or one that ships: {built_in}"
        ) from error
    if len(content) > MAX_RECIPE_BYTES:
        raise RecipeError(f"{path} is larger than {MAX_RECIPE_BYTES} bytes; a recipe is a page of TOML")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is no TOML: {str(error)[:200]}; see `edgepress init` for one that works") from error


def _set(data: dict[str, Any], setting: str) -> None:
    """Apply "section.key=value", the value as TOML writes it or else as a plain text."""
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {setting!r} is no key=value; write it as --set prune.keep_macs=0.5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text
    *sections, last = key.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise RecipeError(f"--set {setting!r}: {section!r} is no section")
    data[last] = value
