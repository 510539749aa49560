"""Measuring files on a device, once: valid measurements of the same file are used again.

The same means: equal bytes, device, machine, runtime with its version, and request. What is missing is measured together,
in turns. An invalid measurement is recorded like any other, and never used again; nor are those made with it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from devices import Device, Measurement, Request
from devices.statistics import Comparison
from devices.statistics import compare as compare_medians
from pipeline.artifact import canonical_json, file_digest
from pipeline.errors import ModelError


class Observations(Protocol):
    """Where measurements are kept: the store."""

    def observe(self, key: str, observation: Mapping[str, Any]) -> None:
        """Append one measurement."""

    def observations(self, key: str) -> list[dict[str, Any]]:
        """Return the measurements under a key, oldest first."""


def measure(
    models: Sequence[Path], device: Device, request: Request, store: Observations, *, made_at: str, fresh: bool = False
) -> list[tuple[Measurement, ...]]:
    """Return the measurements of each file, the newest valid ones of the store or new ones; `fresh` makes all anew."""
    keys = [_key(model, device, request) for model in models]
    known = {} if fresh else {key: found for key in keys if (found := _known(key, store)) is not None}
    missing = {key: model for key, model in zip(keys, models, strict=True) if key not in known}
    if missing:
        for key, measured in zip(missing, device.measure(list(missing.values()), request), strict=True):
            known[key] = tuple(replace(measurement, made_at=made_at) for measurement in measured)
            store.observe(key, {"measurements": [measurement.to_json() for measurement in known[key]]})
    return [
        tuple(replace(measurement, model=model.name) for measurement in known[key])
        for key, model in zip(keys, models, strict=True)
    ]


def compare(first: Measurement, second: Measurement) -> Comparison:
    """Compare two measurements; process by process where they took turns in one run."""
    together = {first.model_sha256, second.model_sha256} <= set(first.together)
    interleaved = together and first.together == second.together and first.made_at == second.made_at
    return compare_medians(first.process_medians, second.process_medians, interleaved=interleaved)


def _known(key: str, store: Observations) -> tuple[Measurement, ...] | None:
    found = [record.get("measurements", []) for record in store.observations(key)]
    valid = [record for record in found if record and all(each.get("valid") is True for each in record)]
    return tuple(Measurement.from_json(each) for each in valid[-1]) if valid else None


def _key(model: Path, device: Device, request: Request) -> str:
    try:
        digest = file_digest(model)
    except OSError as error:
        raise ModelError(f"can't read model {model} ({error.strerror}); give an .onnx or .tflite file") from error
    parts = [digest, device.name, device.machine, *device.runtime(model), asdict(request)]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
