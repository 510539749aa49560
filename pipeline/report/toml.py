"""A recipe as its file says it, from what a report holds of it, so that it can be run again."""

import json
from typing import Any


def toml(recipe: dict[str, Any]) -> str:
    """Return a recipe as its file says it, so that it can be run again."""
    plain = {
        key: value
        for key, value in recipe.items()
        if key not in ("sections", "devices", "fit") and value not in ({}, None)
    }
    tables = {key: value for key, value in plain.items() if isinstance(value, dict)}
    tables |= {key: recipe[key] for key in ("devices",) if recipe.get(key)}
    tables |= recipe.get("sections") or {}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items() if key not in tables]
    for name, table in tables.items():
        lines += [
            "",
            f"[{name}]",
            *(f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None),
        ]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)


def _value(value: Any) -> str:
    """Return a value as TOML writes it; a text in JSON's quotes is one of TOML's."""
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items() if each is not None) + " }"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)
