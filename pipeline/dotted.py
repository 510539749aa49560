"""Nested settings by dotted names, and values as TOML writes them: what reports compare, logs note and `--set` takes."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")
"""A key that needs no quotes: https://toml.io/en/v1.0.0#keys"""


def dotted(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give each value under its dotted name; an empty section is a value of its own."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def toml_lines(table: Mapping[str, Any]) -> Iterator[str]:
    """Give a table's lines, "key = value"; what is None is left out, for TOML has none."""
    yield from (f"{toml_key(key)} = {toml_value(value)}" for key, value in table.items() if value is not None)


def toml_key(text: str) -> str:
    """Return a key, quoted where it must be."""
    return text if BARE.fullmatch(text) else _text(text)


def toml_value(value: Any) -> str:
    """Return a value in one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(toml_lines(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """JSON's escapes are TOML's, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
