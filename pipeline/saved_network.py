"""A saved network's two files, read without torch, so that a light install can look inside.

`weights.safetensors` holds every parameter and buffer (the format: https://github.com/huggingface/safetensors#format, eight
bytes of length, a JSON header, then the tensors' bytes). `architecture.json` says how the network differs from what the
task's constructor builds:

    {"schema": 1,
     "constructor": "student",                                     or "teacher:NAME"
     "shapes":     {"features.0.weight": {"was": [64, 1, 3, 3], "is": [40, 1, 3, 3]}},
     "attributes": {"features.0": {"out_channels": {"was": 64, "is": 40}}},
     "tables":     {"words": 1200},                                rows of trimmed tables; left out where there are none
     "lengths":    {"blocks": 1}}                                  layers left in a row of equal ones; as above

Both files may come from anywhere: each is bounded in size and checked field by field, and what is wrong is a ModelError.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.errors import ModelError

WEIGHTS = "weights.safetensors"
ARCHITECTURE = "architecture.json"
MAX_JSON_BYTES = 16 * 2**20
MAX_DIMENSIONS = 16
MAX_EXTENT = 2**40
"""No tensor that a phone can hold has an extent, or a number of elements, above this."""

ITEM_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}
"""Bytes an element by the format's name of its type, as far as networks use them."""

Value: TypeAlias = int | tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """One extent, or several, before and after pruning: `was` is the constructor's, `now` the saved network's."""

    was: Value
    now: Value


@dataclass(frozen=True)
class Architecture:
    """How a network differs from its constructor's: tensors' shapes by name, modules' attributes by module and name.

    `tables` are the embeddings that were trimmed (`pipeline.vocabulary`), with the rows that are left, `lengths` the rows of equal layers
    that lost some (`pipeline.depth`); shapes and attributes start from those.
    """

    constructor: str
    shapes: Mapping[str, Change]
    attributes: Mapping[str, Mapping[str, Change]]
    tables: Mapping[str, int] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of the weights' file: its type by the format's name, its shape."""

    dtype: str
    shape: tuple[int, ...]


def write_architecture(architecture: Architecture, folder: Path) -> None:
    """Write `architecture.json` with sorted keys: equal architectures are equal bytes."""
    document = {
        "schema": 1,
        "constructor": architecture.constructor,
        "shapes": {name: _plain(change) for name, change in architecture.shapes.items()},
        "attributes": {
            module: {name: _plain(change) for name, change in changes.items()}
            for module, changes in architecture.attributes.items()
        },
        **({"tables": dict(architecture.tables)} if architecture.tables else {}),
        **({"lengths": dict(architecture.lengths)} if architecture.lengths else {}),
    }
    (folder / ARCHITECTURE).write_text(json.dumps(document, sort_keys=True, indent=1) + "\n", encoding="utf-8")


def read_architecture(folder: Path) -> Architecture:
    """Read and check `architecture.json`; ModelError when it is anything but what the module's docstring shows."""
    path = folder / ARCHITECTURE
    document = _object(_parsed(path, _bounded(path)), path, "the document")
    if (
        set(document) - {"tables", "lengths"} != {"schema", "constructor", "shapes", "attributes"}
        or document["schema"] != 1
    ):
        raise _wrong(
            path,
            f"keys {sorted(document)[:8]} of schema {document.get('schema')!r}",
            "schema, constructor, shapes and attributes of schema 1",
        )
    constructor = document["constructor"]
    if not isinstance(constructor, str) or not (constructor == "student" or constructor.startswith("teacher:")):
        raise _wrong(path, f"constructor {constructor!r:.60}", "'student' or 'teacher:NAME'")
    attributes = _object(document["attributes"], path, "attributes")
    return Architecture(
        constructor=constructor,
        shapes=_changes(document["shapes"], path, "shapes"),
        attributes={
            module: _changes(changes, path, f"attributes of {module:.80}") for module, changes in attributes.items()
        },
        tables=_counts(document.get("tables", {}), path, "tables"),
        lengths=_counts(document.get("lengths", {}), path, "lengths"),
    )


def _counts(found: Any, path: Path, what: str) -> Mapping[str, int]:
    counts = _object(found, path, what)
    for name, count in counts.items():
        if type(count) is not int or not 1 <= count <= MAX_EXTENT:
            raise _wrong(path, f"{what} of {name:.80}: {count!r:.40}", f"1 to {MAX_EXTENT}")
    return counts


def read_header(folder: Path) -> Mapping[str, StoredTensor]:
    """Read the weights' header: tensors by name, checked to fill the file exactly; ModelError when they don't."""
    path = folder / WEIGHTS
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if total < 8 or length > min(MAX_JSON_BYTES, total - 8):
                raise _wrong(
                    path,
                    f"a header of {length} bytes in a file of {total}",
                    f"at most {MAX_JSON_BYTES}, within the file",
                )
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}); give a saved network's folder") from error
    header = _object(_parsed(path, text), path, "the header")
    entries = {
        name: _object(entry, path, f"tensor {name:.80}") for name, entry in header.items() if name != "__metadata__"
    }
    tensors = {name: _tensor(entry, path, name) for name, entry in entries.items()}
    _check_layout(tensors, entries, total - 8 - length, path)
    return tensors


def describe(folder: Path) -> dict[str, Any]:
    """Say what a saved network holds, as a JSON object, from its two files alone."""
    architecture, tensors = read_architecture(folder), read_header(folder)
    pruned = {
        f"{module}.{name}" if module else name: _plain(change)
        for module, changes in sorted(architecture.attributes.items())
        for name, change in sorted(changes.items())
    }
    return {
        "constructor": architecture.constructor,
        "tensors": len(tensors),
        "elements": sum(prod(tensor.shape) for tensor in tensors.values()),
        "weights_bytes": (folder / WEIGHTS).stat().st_size,
        "pruned": pruned,
    }


def _plain(change: Change) -> dict[str, Any]:
    return {"was": _listed(change.was), "is": _listed(change.now)}


def _listed(value: Value) -> int | list[int]:
    return list(value) if isinstance(value, tuple) else value


def _changes(found: Any, path: Path, what: str) -> dict[str, Change]:
    changes = {
        name: _object(change, path, f"{what}: {name:.80}") for name, change in _object(found, path, what).items()
    }
    return {name: _change(change, path, f"{what}: {name:.80}") for name, change in changes.items()}


def _change(found: Mapping[str, Any], path: Path, what: str) -> Change:
    if set(found) != {"was", "is"}:
        raise _wrong(path, f"{what} with {sorted(found)[:8]}", "'was' and 'is'")
    was, now = _value(found["was"], path, what), _value(found["is"], path, what)
    if isinstance(was, int) != isinstance(now, int) or (
        isinstance(was, tuple) and isinstance(now, tuple) and len(was) != len(now)
    ):
        raise _wrong(path, f"{what} changes its number of extents", "the same number before and after")
    return Change(was=was, now=now)


def _value(found: Any, path: Path, what: str) -> Value:
    if isinstance(found, list):
        return _shape(found, path, what)
    return _shape([found], path, what)[0]


def _shape(found: Any, path: Path, what: str) -> tuple[int, ...]:
    if (
        not isinstance(found, list)
        or len(found) > MAX_DIMENSIONS
        or not all(type(extent) is int and 0 <= extent <= MAX_EXTENT for extent in found)
    ):
        raise _wrong(path, f"{what} of {found!r:.60}", f"at most {MAX_DIMENSIONS} whole numbers of 0 to {MAX_EXTENT}")
    return tuple(found)


def _tensor(entry: Mapping[str, Any], path: Path, name: str) -> StoredTensor:
    if set(entry) != {"dtype", "shape", "data_offsets"} or str(entry["dtype"]) not in ITEM_BYTES:
        raise _wrong(
            path,
            f"tensor {name:.80} of type {entry.get('dtype')!r:.20}",
            f"dtype, shape and data_offsets, of {', '.join(ITEM_BYTES)}",
        )
    shape = _shape(entry["shape"], path, f"tensor {name:.80}")
    if prod(shape) > MAX_EXTENT:
        raise _wrong(path, f"tensor {name:.80} of {prod(shape)} elements", f"at most {MAX_EXTENT}")
    return StoredTensor(dtype=entry["dtype"], shape=shape)


def _check_layout(
    tensors: Mapping[str, StoredTensor], entries: Mapping[str, Mapping[str, Any]], data_bytes: int, path: Path
) -> None:
    """Refuse tensors that overlap, leave gaps, or don't fill the file."""
    spans = {
        name: _shape(entry["data_offsets"], path, f"data_offsets of {name:.80}") for name, entry in entries.items()
    }
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1]):
        tensor_bytes = prod(tensors[name].shape) * ITEM_BYTES[tensors[name].dtype]
        if span != (end, end + tensor_bytes):
            raise _wrong(path, f"tensor {name:.80} at {span}", f"bytes {end} to {end + tensor_bytes}")
        end += tensor_bytes
    if end != data_bytes:
        raise _wrong(path, f"{data_bytes} bytes of tensors", f"{end} by its header")


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}); give a saved network's folder") from error
    if len(text) > MAX_JSON_BYTES:
        raise _wrong(path, f"more than {MAX_JSON_BYTES} bytes", "a smaller file")
    return text


def _parsed(path: Path, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"no JSON ({error!s:.100})", "what edgepress wrote") from error


def _object(found: Any, path: Path, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise _wrong(path, f"{what} is a {type(found).__name__}", "a JSON object")
    return found


def _wrong(path: Path, found: str, allowed: str) -> ModelError:
    return ModelError(f"{path} is no saved network's file: found {found}; allowed: {allowed}; run the recipe again")
