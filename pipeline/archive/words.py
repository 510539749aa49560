"""What the archive says in words that others run: the recipe as TOML, the environment as pip's requirements.

`verify` holds both members to what these functions give: whoever changes them raises the schema of the archive's index.
"""

from collections.abc import Mapping
from typing import Any

from packaging.utils import canonicalize_name

from pipeline.archive.manifest import Environment
from pipeline.dotted import toml_key, toml_lines


def recipe_toml(recipe: Mapping[str, Any]) -> str:
    """Return a recipe, as a manifest holds it, as the TOML that gives it again."""
    head = {
        "schema": recipe["schema_"],
        **_given({key: recipe[key] for key in recipe.keys() - {"schema_", "sections"}}),
    }
    tables = {key: _given(value) for key, value in head.items() if isinstance(value, dict)}
    lines = [*toml_lines({key: value for key, value in head.items() if key not in tables})]
    for name, table in {**{key: table for key, table in tables.items() if table}, **recipe["sections"]}.items():
        lines += ["", f"[{toml_key(name)}]", *toml_lines(table)]
    return "\n".join(lines) + "\n"


def requirements(environment: Environment) -> str:
    """Return the environment as a file for `pip install -r`; edgepress, which no index has, is named in a comment."""
    found = {
        name: version for name, version in environment.distributions.items() if canonicalize_name(name) != "edgepress"
    }
    own = environment.distributions.get("edgepress", "not known")
    head = f"# Python {environment.python} on {environment.platform}; edgepress {own}, which comes from its own source"
    return "\n".join([head, *(f"{name}=={found[name]}" for name in sorted(found, key=canonicalize_name))]) + "\n"


def _given(table: Mapping[str, Any]) -> dict[str, Any]:
    """What is None or empty there is the default."""
    return {key: value for key, value in sorted(table.items()) if value not in (None, {}, [])}
