"""Finding and reading profiles: those that ship, those of plug-ins, and a user's own by path, all by the same rules.

A plug-in is an entry point of the group `edgepress.targets` that names a package, whose folder holds the TOML files, or
a function or a value of it that gives paths of files or folders.
"""

import json
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from pydantic import ValidationError

from pipeline.errors import TargetError, did_you_mean, root_cause
from targets.facts import cited
from targets.operator_table import known_tables
from targets.schema import SCHEMA, Record, Target

MAX_PROFILE_BYTES = 2**20
PLUG_INS = "edgepress.targets"
SHIPPED = Path(__file__).parent


def known_targets() -> tuple[str, ...]:
    """Return the names of the profiles that ship and those of plug-ins, sorted; reads no profile."""
    return tuple(sorted({path.stem for path in SHIPPED.glob("*.toml")} | set(plugged_in())))


def plugged_in() -> dict[str, Path]:
    """Return the profiles of installed plug-ins by name; TargetError for a plug-in that fails or two of one name."""
    found: dict[str, Path] = {}
    for point in entry_points(group=PLUG_INS):
        for path in _profiles_of(point):
            if path.stem in found or (SHIPPED / path.name).is_file():
                there = found.get(path.stem, SHIPPED / path.name)
                raise TargetError(
                    f"plug-in {point.name!r}: there is a target {path.stem!r} already, {there}; rename {path}"
                )
            found[path.stem] = path
    return found


def load_target(name_or_path: str | Path) -> Target:
    """Read a profile by its name, or a user's own by a path that ends in ".toml"; TargetError when there is none or it is wrong."""
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _read(Path(text))
    if (SHIPPED / f"{text}.toml").is_file() and "/" not in text:
        return _read(SHIPPED / f"{text}.toml")
    others = plugged_in()
    if text not in others:
        known = known_targets()
        raise TargetError(
            f"no target {text!r}; known: {', '.join(known)}{did_you_mean(text, known)}; or give the path of a .toml file"
        )
    return _read(others[text])


def _profiles_of(point: EntryPoint) -> Iterator[Path]:
    whose = point.dist.name if point.dist else "?"
    try:
        given = point.load()
        if isinstance(given, ModuleType):
            given = list(given.__path__)
        elif callable(given):
            given = given()
        paths = [Path(part) for part in ([given] if isinstance(given, str | Path) else given)]
    except Exception as error:
        raise TargetError(
            f"plug-in {point.name!r} of package {whose!r} gives no target profiles ({type(error).__name__}: {error}); "
            f"{point.value!r} must name a package, or paths of .toml files or folders; mend or uninstall it"
        ) from error
    for path in paths:
        yield from sorted(path.glob("*.toml")) if path.is_dir() else [path]


def _read(path: Path) -> Target:
    data = _parse(path)
    schema = data.pop("schema", None)
    if schema != SCHEMA:
        raise TargetError(f"{path}: schema = {schema!r}; this version reads schema = {SCHEMA}")
    try:
        # By way of JSON: strict validation then takes an array for a tuple, and nothing else for anything else.
        target = Target.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise TargetError(f"{path}: {root_cause(error, Target.model_fields, inside=_sections(error))}") from error
    _check(target, path)
    return target


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PROFILE_BYTES + 1)
        if len(content) > MAX_PROFILE_BYTES:
            raise TargetError(f"{path} is larger than {MAX_PROFILE_BYTES} bytes; a target profile is a page of TOML")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise TargetError(
            f"no target profile {path} ({error.strerror}); known by name: {', '.join(known_targets())}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{path} is no TOML: {str(error)[:200]}") from error


def _sections(error: ValidationError) -> dict[str, Iterable[str]]:
    """Return the allowed keys of each section that an error is in, by its place, e.g. "cores.0.count"."""
    keys = dict(_keys(Target))
    found: dict[str, Iterable[str]] = {}
    for detail in error.errors(include_url=False):
        where = [str(part) for part in detail["loc"][:-1]]
        found[".".join(where)] = keys.get(".".join(part for part in where if not part.isdigit()), ())
    return found


def _keys(record: type[Record], section: str = "") -> Iterator[tuple[str, Iterable[str]]]:
    """Yield (section, its keys) of a profile, sections written as "formats.onnx"."""
    yield section, record.model_fields
    for name, field in record.model_fields.items():
        for part in _records_in(field.annotation):
            yield from _keys(part, f"{section}.{name}".lstrip("."))


def _records_in(annotation: Any) -> Iterator[type[Record]]:
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, Record):
        yield annotation
    for argument in get_args(annotation):
        yield from _records_in(argument)


def _check(target: Target, path: Path) -> None:
    if path.stem != target.name:
        raise TargetError(f"{path}: name = {target.name!r}; a profile is named after its file: {path.stem!r}")
    if missing := sorted(set(cited(target)) - set(target.sources)):
        raise TargetError(
            f"{path}: no source {missing[0]!r} in [sources]; known: {', '.join(target.sources)}{did_you_mean(missing[0], target.sources)}"
        )
    for runtime in target.runtimes:
        if runtime.operators not in known_tables():
            known = known_tables()
            raise TargetError(
                f"{path}: no operator table {runtime.operators!r}; known: {', '.join(known)}{did_you_mean(runtime.operators, known)}"
            )
