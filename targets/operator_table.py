"""Operator tables: which operators a runtime takes, in which number types, and by which path.

`operators("litert").accepts("CONV_2D", ["int8"])` answers with a Placement:

| placement | the operator |
|---|---|
| fast | runs by the runtime's fast path: XNNPACK, CMSIS-NN, the Ethos-U; by the only one where a runtime has one |
| runs | runs, but falls back to the runtime's plain kernel, or from the accelerator to the processor |
| float-only | has no kernel for these types, only for float |
| unsupported | has no kernel for these types, or isn't known at all |

One file a runtime, in `targets/operators/`: each operator with the types of `fast` and of `runs`, as numpy names them;
"any" stands for all. Told are the types of the values that flow through, not of weights, biases, shapes, axes or
indices. Where a path asks for more than a type (a constant weight, a stride), `only_if` says it in words: no table can
judge that.
"""

import tomllib
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import TargetError, did_you_mean, root_cause

Placement = Literal["fast", "runs", "float-only", "unsupported"]

SCHEMA = 1
FOLDER = Path(__file__).parent / "operators"
FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})


class Operator(BaseModel):
    """The types that one operator takes, by the path that runs it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    fast: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    only_if: str = ""


class OperatorTable(BaseModel):
    """What a runtime takes; `fast_path` names the path that is fast, empty where there is only one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    title: str
    fast_path: str
    sources: Mapping[str, str]
    operators: Mapping[str, Operator]

    def accepts(self, op: str, types: Collection[str]) -> Placement:
        """Return how an operator runs whose activations have these types."""
        known = self.operators.get(op)
        if known is None:
            return "unsupported"
        asked, all_types = set(types), known.fast | known.runs
        if asked <= known.fast:
            return "fast"
        if asked <= all_types or "any" in all_types:
            return "runs" if self.fast_path else "fast"
        return "float-only" if all_types <= FLOATS else "unsupported"


def known_tables() -> tuple[str, ...]:
    """Return the names of the tables, sorted; reads no file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@cache
def operators(name: str) -> OperatorTable:
    """Return the table of this name, as `Runtime.operators` gives it; TargetError when there is none."""
    if name not in known_tables():
        known = known_tables()
        raise TargetError(f"no operator table {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")
    path = FOLDER / f"{name}.toml"
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    if data.pop("schema", None) != SCHEMA:
        raise TargetError(f"{path}: this version reads schema = {SCHEMA}")
    try:
        return OperatorTable.model_validate(_as_sets(data))
    except ValidationError as error:
        raise TargetError(f"{path}: {root_cause(error, OperatorTable.model_fields)}") from error


def _as_sets(data: dict[str, object]) -> dict[str, object]:
    """Return a table's data with its lists of types as sets, which strict validation asks for."""
    given = data.get("operators")
    if not isinstance(given, dict):
        return data
    made = {
        op: {key: frozenset(v) if isinstance(v, list) else v for key, v in row.items()} for op, row in given.items()
    }
    return {**data, "operators": made}
