"""The space of a search: by setting, the values that it may take. All are lists, so that trials share what they have in common."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import RecipeError, did_you_mean
from pipeline.networks.ladders import neighbours, read_rung
from pipeline.recipe import Recipe
from pipeline.stage import Stage

KEPT_MACS = (1.0, 0.7, 0.5, 0.35, 0.25)
KEPT_COST = (70, 50, 35, 25)
"""In percent of what the uncut student costs, where the recipe prunes by cost."""
TEMPERATURES = (2.0, 4.0, 8.0)
FASTER = 4.0
"""A learning rate is tried as it is, and so many times as high: small networks bear more than large ones."""
ORDER, STUDENT = "stages", "student"

Settings = Mapping[str, Any]
Space = Mapping[str, tuple[Any, ...]]


def space_of(recipe: Recipe, stages: Mapping[str, Stage]) -> Space:
    """Return what the recipe's [fit] gives, and for what it leaves open a few values around its own; its own come first."""
    given = recipe.fit.space
    for key in given:
        _check(key, recipe, stages)
    found = {key: values for key, values in _usual(recipe, stages) if key not in given}
    found |= {key: (own, *values) for key, values in given.items() if (own := _own(key, recipe, stages)) is not None}
    if recipe.student not in ("task", "auto"):
        found.setdefault(STUDENT, (recipe.student, *neighbours(read_rung(recipe.student))))
    if recipe.fit.stages:
        found[ORDER] = (",".join(recipe.stages), *(",".join(order) for order in recipe.fit.stages))
    return {key: tuple(dict.fromkeys(values)) for key, values in found.items()}


def applied(recipe: Recipe, settings: Settings) -> Recipe:
    """Return the recipe with a trial's settings."""
    sections = {name: dict(section) for name, section in recipe.sections.items()}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        if key not in (ORDER, STUDENT):
            sections.setdefault(section, {})[name] = value
    stages = tuple(str(settings[ORDER]).split(",")) if ORDER in settings else recipe.stages
    student = settings.get(STUDENT, recipe.student)
    return recipe.model_copy(update={"sections": sections, "stages": stages, "student": student})


def _usual(recipe: Recipe, stages: Mapping[str, Stage]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for stage, occurrence in zip(recipe.stages, recipe.occurrences, strict=True):
        if stage == "prune":
            yield _cut(recipe, occurrence, stages)
        if stage == "distill":
            temperature, rate = (
                _own(f"{occurrence}.{name}", recipe, stages) for name in ("temperature", "learning_rate")
            )
            yield f"{occurrence}.learning_rate", (rate, rate * FASTER)
            if isinstance(temperature, float):
                yield f"{occurrence}.temperature", (temperature, *TEMPERATURES)


def _cut(recipe: Recipe, occurrence: str, stages: Mapping[str, Stage]) -> tuple[str, tuple[Any, ...]]:
    until = str(_own(f"{occurrence}.until", recipe, stages) or "")
    if until:
        quantity = until.partition("=")[0].strip()
        return f"{occurrence}.until", (until, *(f"{quantity} = {share}%" for share in KEPT_COST))
    return f"{occurrence}.keep_macs", (_own(f"{occurrence}.keep_macs", recipe, stages), *KEPT_MACS)


def _own(key: str, recipe: Recipe, stages: Mapping[str, Stage]) -> Any:
    """Return a setting's value in the recipe, or the stage's default."""
    if key == STUDENT:
        return recipe.student
    section, _, name = key.partition(".")
    default = stages[section.partition("-")[0]].config.model_fields[name].default
    return recipe.settings_of(section).get(name, default)


def _check(key: str, recipe: Recipe, stages: Mapping[str, Stage]) -> None:
    if key == STUDENT:
        _check_students(recipe)
        return
    section, dot, name = key.partition(".")
    usable = [each for each in (*recipe.stages, *recipe.occurrences, "teach") if each in stages or "-" in each]
    if not dot or section not in usable:
        raise RecipeError(
            f'recipe {recipe.name!r}: [fit.space] {key!r:.60} names no stage of it; write "prune.keep_macs", the stage being one of '
            f"{', '.join(dict.fromkeys(usable))}{did_you_mean(section, usable)}"
        )
    known = stages[section.partition("-")[0]].config.model_fields
    if name not in known:
        raise RecipeError(
            f"recipe {recipe.name!r}: [fit.space] {key!r:.60}: {section} has no setting {name!r:.40}; known: {', '.join(known)}"
            f"{did_you_mean(name, list(known))}"
        )
    own = _own(key, recipe, stages)
    if not isinstance(own, bool | int | float | str | None):
        raise RecipeError(
            f"recipe {recipe.name!r}: [fit.space] {key!r:.60} is {own!r:.60} in the recipe, and fit turns single values; leave it out"
        )
    if not recipe.fit.space[key]:
        raise RecipeError(f"recipe {recipe.name!r}: [fit.space] {key!r:.60} is an empty list; give the values to try")


def _check_students(recipe: Recipe) -> None:
    for student in recipe.fit.space[STUDENT]:
        try:
            read_rung(str(student))
        except ValueError as error:
            raise RecipeError(f"recipe {recipe.name!r}: [fit.space] {STUDENT}: {error}") from error
