"""What the archive says in words that others run: the recipe as TOML, the environment as pip's requirements.

`verify` holds both members to what these functions give: whoever changes them raises the schema of the archive's index.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.archive.manifest import Environment
from pipeline.environment import plain_name

BARE = re.compile(r"[A-Za-z0-9_-]+")


def recipe_toml(recipe: Mapping[str, Any]) -> str:
    """Return a recipe, as a manifest holds it, as the TOML that gives it again."""
    head = {
        "schema": recipe["schema_"],
        **_given({key: recipe[key] for key in recipe.keys() - {"schema_", "sections"}}),
    }
    tables = {key: _given(value) for key, value in head.items() if isinstance(value, dict)}
    lines = [*_lines({key: value for key, value in head.items() if key not in tables})]
    for name, table in {**{key: table for key, table in tables.items() if table}, **recipe["sections"]}.items():
        lines += ["", f"[{_key(name)}]", *_lines(table)]
    return "\n".join(lines) + "\n"


def requirements(environment: Environment) -> str:
    """Return the environment as a file for `pip install -r`; edgepress, which no index has, is named in a comment."""
    found = {name: version for name, version in environment.distributions.items() if plain_name(name) != "edgepress"}
    own = environment.distributions.get("edgepress", "not known")
    head = f"# Python {environment.python} on {environment.platform}; edgepress {own}, which comes from its own source"
    return "\n".join([head, *(f"{name}=={found[name]}" for name in sorted(found, key=plain_name))]) + "\n"


def _given(table: Mapping[str, Any]) -> dict[str, Any]:
    """What is None or empty there is the default."""
    return {key: value for key, value in sorted(table.items()) if value not in (None, {}, [])}


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    """TOML has no None."""
    yield from (f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None)


def _key(text: str) -> str:
    return text if BARE.fullmatch(text) else _text(text)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_lines(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """JSON's escapes are TOML's, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
