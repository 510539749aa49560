"""Measuring files on a device, once: a valid measurement of the same file is used again.

The same means: equal bytes, device, machine, runtime with its version, and request. What is missing is measured together,
in turns. An invalid measurement is recorded like any other, and never used again.
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
) -> list[Measurement]:
    """Return a measurement of each file, the newest valid one of the store or a new one; `fresh` makes all anew."""
    keys = [_key(model, device, request) for model in models]
    known = {} if fresh else {key: found for key in keys if (found := _known(key, store)) is not None}
    missing = {key: model for key, model in zip(keys, models, strict=True) if key not in known}
    if missing:
        made = device.measure_many(list(missing.values()), request)
        for key, measurement in zip(missing, made, strict=True):
            known[key] = replace(measurement, made_at=made_at)
            store.observe(key, known[key].to_json())
    return [replace(known[key], model=model.name) for key, model in zip(keys, models, strict=True)]


def compare(first: Measurement, second: Measurement) -> Comparison:
    """Compare two measurements; process by process where they took turns in one run."""
    together = {first.model_sha256, second.model_sha256} <= set(first.together)
    interleaved = together and first.together == second.together and first.made_at == second.made_at
    return compare_medians(first.process_medians, second.process_medians, interleaved=interleaved)


def _known(key: str, store: Observations) -> Measurement | None:
    found = [Measurement.from_json(record) for record in store.observations(key) if record.get("valid") is True]
    return found[-1] if found else None


def _key(model: Path, device: Device, request: Request) -> str:
    try:
        digest = file_digest(model)
    except OSError as error:
        raise ModelError(f"can't read model {model} ({error.strerror}); give an .onnx or .tflite file") from error
    parts = [digest, device.name, device.machine, *device.runtime(model), asdict(request)]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()
