"""Measuring files on a device, once, and comparing two: valid measurements of the same file are used again.

The same means: equal bytes, device, machine, runtime with its version, and request. What is missing is measured together,
in turns. An invalid measurement is recorded like any other, and never used again; nor are those made with it. Two files
that are compared are measured as a pair, in turns, and only used again as that pair: what was measured at another time met
another machine.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Literal, Protocol

from devices import Device, Measurement, Request
from devices.statistics import Comparison, Interval, verdict_of
from devices.statistics import compare as compare_medians
from pipeline.artifact import canonical_json, file_digest
from pipeline.errors import DeviceError, ModelError

PAIRED = Request(processes=12, warmup_seconds=0.2, min_seconds=0.3)
"""For comparisons: of twelve pairs one may be disturbed, and the others still show a difference with 99 % confidence."""

MOST_DIGITS = 9

Quantities = tuple[Measurement, ...]
Word = Literal["faster", "slower", "less", "more", "no difference shown"]


class Observations(Protocol):
    """Where measurements are kept: the store."""

    def observe(self, key: str, observation: Mapping[str, Any]) -> None:
        """Append one measurement."""

    def observations(self, key: str) -> list[dict[str, Any]]:
        """Return the measurements under a key, oldest first."""


def measure(
    models: Sequence[Path], device: Device, request: Request, store: Observations, *, made_at: str, fresh: bool = False
) -> list[Quantities]:
    """Return the measurements of each file, the newest valid ones of the store or new ones; `fresh` makes all anew."""
    keys = [_key(model, device, request) for model in models]
    known = {} if fresh else {key: found[0] for key in keys if (found := _newest(key, store, ("measurements",)))}
    missing = {key: model for key, model in zip(keys, models, strict=True) if key not in known}
    if missing:
        for key, measured in zip(missing, device.measure(list(missing.values()), request), strict=True):
            known[key] = tuple(replace(measurement, made_at=made_at) for measurement in measured)
            store.observe(key, {"measurements": [measurement.to_json() for measurement in known[key]]})
    return [
        tuple(replace(measurement, model=model.name) for measurement in known[key])
        for key, model in zip(keys, models, strict=True)
    ]


def measure_pair(
    first: Path,
    second: Path,
    device: Device,
    request: Request,
    store: Observations,
    *,
    made_at: str,
    fresh: bool = False,
) -> tuple[Quantities, Quantities]:
    """Return the measurements of two files that took turns, even where they hold the same bytes."""
    key = _digest(["pair", _key(first, device, request), _key(second, device, request)])
    known = None if fresh else _newest(key, store, ("measurements", "against"))
    if known is None:
        known = [
            tuple(replace(each, made_at=made_at) for each in quantities)
            for quantities in device.measure([first, second], request)
        ]
        of_first, of_second = ([each.to_json() for each in quantities] for quantities in known)
        store.observe(key, {"measurements": of_first, "against": of_second})
    one, other = (
        tuple(replace(each, model=model.name) for each in quantities)
        for model, quantities in zip((first, second), known, strict=True)
    )
    return one, other


def compare(first: Measurement, second: Measurement) -> Comparison:
    """Compare two measurements of one quantity.

    What was timed is compared process by process where the files took turns in one run. Of counts and estimates the
    bands are compared; an estimate of which nobody knows the error shows nothing. Nor does what was disturbed.
    """
    if first.quantity != second.quantity:
        raise DeviceError(
            f"{first.model} was judged by its {first.quantity}, {second.model} by its {second.quantity}; nothing compares them"
        )
    comparison = (
        _of_processes(first, second) if first.processes > 1 and first.label == "measured" else _of_bands(first, second)
    )
    why = next((each.why_invalid for each in (first, second) if not each.valid), "")
    return replace(comparison, verdict="no difference shown", why=why) if why else comparison


def in_words(comparison: Comparison, unit: str) -> Word:
    """Return the verdict in the words of its quantity: what isn't a time is less or more."""
    if unit in ("us", "ms", "s") or comparison.verdict == "no difference shown":
        return comparison.verdict
    return "less" if comparison.verdict == "faster" else "more"


def ratio_text(ratio: float, low: float, high: float) -> str:
    """Return "0.75 [0.48, 0.998]": as many digits as it takes that no bound reads 1 that isn't."""
    digits = next(
        (n for n in range(3, MOST_DIGITS) if all(round(bound, n) != 1 or bound == 1 for bound in (low, high))),
        MOST_DIGITS,
    )
    return f"{ratio:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _of_processes(first: Measurement, second: Measurement) -> Comparison:
    together = {first.model_sha256, second.model_sha256} <= set(first.together)
    alike = first.together == second.together and first.processes == second.processes
    interleaved = together and alike and first.made_at == second.made_at
    return compare_medians(first.process_medians, second.process_medians, interleaved=interleaved)


def _of_bands(first: Measurement, second: Measurement) -> Comparison:
    if second.low <= 0:
        same = Interval(1.0, 1.0, 1.0)
        return Comparison(
            same, "no difference shown", interleaved=False, why=f"{second.model} has {second.low:g} {second.unit}"
        )
    ratio = Interval(first.value / second.value, first.low / second.high, first.high / second.low)
    if "estimated" in (first.label, second.label) and (first.low == first.high or second.low == second.high):
        why = "estimated, with an error that nobody published"
        return Comparison(ratio, "no difference shown", interleaved=False, why=why)
    return Comparison(ratio, verdict_of(ratio), interleaved=False)


def _newest(key: str, store: Observations, parts: Sequence[str]) -> list[Quantities] | None:
    """Return the parts of the newest observation in which all that was measured is valid."""
    for record in reversed(store.observations(key)):
        found = [record.get(part) or [{}] for part in parts]
        if all(each.get("valid") is True for quantities in found for each in quantities):
            return [tuple(Measurement.from_json(each) for each in quantities) for quantities in found]
    return None


def _key(model: Path, device: Device, request: Request) -> str:
    given = asdict(request) | (
        {"inputs": _file_digest(Path(request.inputs), ".npz of inputs")} if request.inputs else {}
    )
    content = [_file_digest(model, "model"), *_weights_beside(model)]
    return _digest([*content, device.name, device.machine, *device.runtime(model), given])


def _weights_beside(model: Path) -> list[str]:
    """Return the digests of an ONNX file's weights in other files: equal bytes alone don't make them the same model."""
    if not _holds(model, b"location"):  # the key that names such a file; most models hold none, and spare the parser
        return []
    from pipeline.checks.external import troubles  # noqa: PLC0415 - onnx takes a third of a second
    from pipeline.checks.graph import read_graph  # noqa: PLC0415 - as above

    with suppress(ModelError):  # what can't be read is the runtime's to refuse
        graph = read_graph(model)
        if not troubles(graph):
            return [
                file_digest(model.parent / name) for name in sorted({each.location for each in graph.about.external})
            ]
    return []


def _holds(path: Path, wanted: bytes) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return content.find(wanted) >= 0


def _file_digest(path: Path, what: str) -> str:
    wanted = "give an .onnx or .tflite file" if what == "model" else "give a file that numpy.savez wrote"
    if path.exists() and not path.is_file():
        raise ModelError(f"{what} {path} is a folder or a device, no file; {wanted}")
    try:
        return file_digest(path)
    except OSError as error:
        raise ModelError(f"can't read {what} {path} ({error.strerror}); {wanted}") from error


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()
