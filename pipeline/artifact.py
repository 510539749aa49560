"""Artifact: a folder that never changes, named by what it holds.

An artifact folder has `artifact.json` (`{"schema": 1, "kind": ..., "facts": {...}}`) beside the files of its kind:

| kind | files |
|---|---|
| network | `weights.safetensors`, `architecture.json`: a float network, rebuilt from the task's own constructor |
| quantized | the same, and `quantization.json` with rules and ranges |
| outputs | `outputs.npz`: what a network or a file answers on one split |
| costs | `costs.json`: what a layer shape costs on a device |
| onnx, tflite | `model.onnx`, `model.tflite` |

The digest is the sha256 of the sorted lines "relative path, size, sha256 of the content". Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.errors import ModelError

Kind = Literal["network", "quantized", "outputs", "costs", "onnx", "tflite"]
Facts = Mapping[str, Any]
"""What a stage says about its result: a JSON object, e.g. `{"macs": 1200000, "parameters": 9000}`."""

KINDS: tuple[Kind, ...] = get_args(Kind)
MANIFEST = "artifact.json"
MAX_MANIFEST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class TensorSpec:
    """A model's input or output: `shape` without the batch, `dtype` as numpy names it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


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


def write_manifest(folder: Path, kind: Kind, facts: Facts) -> None:
    """Turn a folder of files into an artifact's folder."""
    manifest = {"schema": 1, "kind": kind, "facts": dict(facts)}
    (folder / MANIFEST).write_text(canonical_json(manifest) + "\n", encoding="utf-8")


def open_artifact(folder: Path) -> Artifact:
    """Read an artifact's folder and digest every byte of it; ModelError when it isn't one."""
    try:
        text = _bounded_text(folder / MANIFEST)
        manifest = json.loads(text, parse_constant=_refuse_constant)
        kind, facts = manifest["kind"], manifest["facts"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{folder} is no artifact: {MANIFEST} can't be read ({error}); give an artifact's folder"
        ) from error
    if kind not in KINDS or not isinstance(facts, dict):
        raise ModelError(f"{folder} is no artifact: kind {str(kind)[:40]!r}; known: {', '.join(KINDS)}")
    return Artifact(digest=digest_of(folder), kind=kind, path=folder, facts=facts)


def digest_of(folder: Path) -> str:
    """Return the sha256 over the folder's sorted "relative path, size, sha256" lines."""
    lines = [
        f"{path.relative_to(folder).as_posix()} {path.stat().st_size} {file_digest(path)}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return a file's sha256, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """Return JSON with sorted keys and no NaN, so that equal values are equal bytes."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)


def _bounded_text(path: Path) -> str:
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"larger than {MAX_MANIFEST_BYTES} bytes")
    return path.read_text(encoding="utf-8")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
