"""Artifact: a folder that never changes, named by what it holds.

An artifact folder has `artifact.json` (`{"schema": 1, "kind": ..., "facts": {...}}`) beside the files of its kind:

| kind | files |
|---|---|
| network | `weights.safetensors`, `architecture.json`: a float network, rebuilt from the task's own constructor |
| quantized | the same, and `quantization.json` with rules and ranges |
| outputs | `output_0.npy`, `output_1.npy`, ...: what a network or a file answers on one split, [views, samples, ...] |
| audit | none: what an audit found is in its facts |
| costs | `costs.json`: what a layer shape costs on a device |
| onnx, tflite | `model.onnx`, `model.tflite` |
| keras | `model.keras`, or the folder `saved_model`: a teacher as its user trained it |

The digest is the sha256 of "sha256 of the content, size, relative path" of each file, in the paths' order. Nothing here
imports torch.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pipeline.errors import ModelError
from pipeline.plain import plain

if TYPE_CHECKING:
    from rich.table import Table

Kind = Literal[
    "network", "quantized", "outputs", "costs", "onnx", "tflite", "keras", "audit", "scheme", "choice", "sensitivity"
]
Facts = Mapping[str, Any]
"""What a stage says about its result: a JSON object, e.g. `{"macs": 1200000, "parameters": 9000}`."""

KINDS: tuple[Kind, ...] = get_args(Kind)
MANIFEST = "artifact.json"
MAX_MANIFEST_BYTES = 16 * 2**20
MOST_SHOWN = 200
"""Characters of a fact that a notebook shows."""


@dataclass(frozen=True)
class Artifact:
    """A folder that never changes: `digest` is the sha256 of all that it holds."""

    digest: str
    kind: Kind
    path: Path
    facts: Facts

    def file(self, name: str) -> Path:
        """Return the path of one of its files; ModelError when it isn't there."""
        path = self.path / name
        if not path.is_file():
            raise ModelError(f"artifact {self.digest[:12]} ({self.kind}) has no {name!r}; run the recipe again")
        return path

    def __rich__(self) -> "Table":
        from rich.table import Table  # noqa: PLC0415 - a terminal's view, rarely asked for
        from rich.text import Text  # noqa: PLC0415 - with it

        table = Table("fact", "value", box=None, header_style="bold")
        for name, value in self._shown():
            table.add_row(Text(plain(name)), Text(plain(value)))
        return table

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self._shown())
        return f"<table>{''.join(rows)}</table>"

    def _shown(self) -> Iterator[tuple[str, str]]:
        """Yield (name, value) as people read them: what is long is told by how much it holds."""
        yield from (("kind", self.kind), ("digest", self.digest), ("path", str(self.path)))
        for name, value in sorted(self.facts.items()):
            text = f"{len(value)} entries" if isinstance(value, list | dict) else str(value)
            yield name, text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def write_manifest(folder: Path, kind: Kind, facts: Facts) -> None:
    """Turn a folder of files into an artifact's folder."""
    manifest = {"schema": 1, "kind": kind, "facts": dict(facts)}
    (folder / MANIFEST).write_text(canonical_json(manifest) + "\n", encoding="utf-8")


def open_artifact(folder: Path) -> Artifact:
    """Read an artifact's folder and digest every byte of it; ModelError when it isn't one."""
    try:
        text = _bounded_text(folder / MANIFEST)
        manifest = strict_json(text)
        schema, kind, facts = manifest["schema"], manifest["kind"], manifest["facts"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{folder} is no artifact: {MANIFEST} can't be read ({error}); give an artifact's folder"
        ) from error
    if schema != 1 or kind not in KINDS or not isinstance(facts, dict):
        raise ModelError(
            f"{folder} is no artifact: kind {str(kind)[:40]!r} of schema {str(schema)[:40]!r}; "
            f"known: {', '.join(KINDS)} of schema 1"
        )
    try:
        return Artifact(digest=digest_of(folder), kind=kind, path=folder, facts=facts)
    except OSError as error:
        raise ModelError(f"artifact {folder} can't be read ({error}); run the recipe again") from error


def digest_of(folder: Path) -> str:
    """Return the sha256 over "sha256, size, relative path" of the folder's files, in the paths' order."""
    return digest_of_list(list_files(folder))


def list_files(folder: Path) -> tuple[tuple[str, int, str], ...]:
    """Return "sha256, size, relative path" of each file of a folder, in the paths' order."""
    return tuple(
        (file_digest(path), path.stat().st_size, path.relative_to(folder).as_posix())
        for path in sorted(path for path in folder.rglob("*") if path.is_file())
    )


def digest_of_list(files: Iterable[tuple[str, int, str]]) -> str:
    """Return the digest of a folder that holds these files."""
    digest = hashlib.sha256()
    for sha256, size_bytes, path in files:
        digest.update(os.fsencode(f"{sha256} {size_bytes} {path}\0"))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return a file's sha256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no NaN, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)


def strict_json(text: str | bytes) -> Any:
    """Return what JSON without NaN and infinity holds; ValueError where it isn't that."""
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)


def _bounded_text(path: Path) -> str:
    if not path.is_file():
        raise ValueError("no such file")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"larger than {MAX_MANIFEST_BYTES} bytes")
    return path.read_text(encoding="utf-8")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value
