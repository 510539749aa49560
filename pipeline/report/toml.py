"""A recipe as its file says it, from what a report holds of it, so that it can be run again."""

from typing import Any

from pipeline.dotted import toml_lines


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
    lines = [*toml_lines({key: value for key, value in plain.items() if key not in tables})]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *toml_lines(table)]
    return "\n".join(lines) + "\n"
