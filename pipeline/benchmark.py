"""What `edgepress bench` finds out of one file, or of two that take turns: the record behind its table and its JSON."""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from devices import QUICK, Device, Request
from devices.host import cores
from devices.layer_times import LayerTime
from devices.statistics import Comparison
from pipeline.bench import PAIRED, Observations, Quantities, compare, in_words, measure, measure_pair
from pipeline.errors import DeviceError, ModelError, RefusedError
from targets import Target

SHAPE = re.compile(r"[1-9][0-9]*(x[1-9][0-9]*)*")


@runtime_checkable
class Layered(Protocol):
    """A device that can say what each operator takes."""

    def layers(self, model: Path, request: Request) -> tuple[LayerTime, ...]:
        """Return the operators in the order in which they run; RefusedError where the file's runtime doesn't tell."""


@dataclass(frozen=True)
class Benchmark:
    """The quantities of a file, the principal one first; `against` and `comparison` where it was set against another."""

    target: str | None
    request: Request
    measured: Quantities
    against: Quantities
    comparison: Comparison | None
    layers: tuple[LayerTime, ...]
    notes: tuple[str, ...]

    @property
    def why_invalid(self) -> tuple[str, ...]:
        """What can't be trusted and why, once for each file and reason; empty when all of it is valid."""
        told: dict[tuple[str, str], list[str]] = {}
        for each in (*self.measured, *self.against):
            if not each.valid:
                told.setdefault((each.model, each.why_invalid), []).append(each.quantity)
        return tuple(f"{', '.join(dict.fromkeys(what))} of {model}: {why}" for (model, why), what in told.items())

    def to_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints; `replay` reads its measurements again."""
        compared = self.comparison and {
            "quantity": self.measured[0].quantity,
            "model": self.measured[0].model,
            "against": self.against[0].model,
            "ratio": asdict(self.comparison.ratio),
            "confidence": 0.99,
            "interleaved": self.comparison.interleaved,
            "verdict": in_words(self.comparison, self.measured[0].unit),
            "why": self.comparison.why,
        }
        return {
            "schema": 1,
            "target": self.target,
            "request": asdict(self.request),
            "measurements": [each.to_json() for each in (*self.measured, *self.against)],
            "comparison": compared,
            "layers": [asdict(layer) for layer in self.layers],
            "notes": list(self.notes),
        }


def make_request(
    *, paired: bool, quick: bool, threads: int, shapes: tuple[str, ...] = (), inputs: Path | None = None
) -> Request:
    """Return the request of a command line; ModelError for a shape that is none, or inputs beside shapes."""
    if inputs and shapes:
        raise ModelError(f"--inputs {inputs} has shapes of its own; leave out --shape {shapes[0]}")
    given = []
    for text in shapes:
        name, _, shape = text.rpartition("=")
        if not name or not SHAPE.fullmatch(shape):
            raise ModelError(f"--shape {text!r} is none; write it as NAME=1x3x224x224, with the name of an input")
        given.append((name, shape))
    lengths = (
        replace(QUICK, processes=PAIRED.processes)
        if quick and paired
        else QUICK
        if quick
        else PAIRED
        if paired
        else Request()
    )
    return replace(lengths, threads=threads, shapes=tuple(given), inputs=str(inputs or ""))


def default_device(target: Target | None) -> str:
    """Return what measures where no device is named: this machine, or for a target what stands in for it."""
    if target is None:
        return "host"
    if target.accelerator:
        return "vela"
    if target.emulation:
        return "qemu"
    if target.kind == "microcontroller":
        return "tflm"
    raise DeviceError(
        f"nothing here stands in for {target.name}; name a device with --device, e.g. ssh://user@board, adb or host"
    )


def benchmark(
    model: Path,
    device: Device,
    request: Request,
    store: Observations,
    *,
    made_at: str,
    against: Path | None = None,
    target: Target | None = None,
    fresh: bool = False,
    per_layer: bool = False,
) -> Benchmark:
    """Measure a file, beside another one where there is one; valid measurements are used again."""
    other: Quantities = ()
    if against is None:
        [measured] = measure([model], device, request, store, made_at=made_at, fresh=fresh)
    else:
        measured, other = measure_pair(model, against, device, request, store, made_at=made_at, fresh=fresh)
    layers, refusal = _layers(model, device, request) if per_layer else ((), "")
    return Benchmark(
        target=target.name if target else None,
        request=request,
        measured=measured,
        against=other,
        comparison=compare(measured[0], other[0]) if other else None,
        layers=layers,
        notes=tuple(note for note in (*_notes(measured, other, request, target), refusal) if note),
    )


def _layers(model: Path, device: Device, request: Request) -> tuple[tuple[LayerTime, ...], str]:
    if not isinstance(device, Layered):
        return (), f"{device.name} tells no layers; --per-layer works on host (.onnx files) and vela"
    try:
        return device.layers(model, request), ""
    except RefusedError as error:
        return (), str(error)


def _notes(measured: Quantities, other: Quantities, request: Request, target: Target | None) -> list[str]:
    notes = []
    if request.min_seconds < Request().min_seconds and request.processes < PAIRED.processes:
        notes.append("quick: too short to be trusted with a verdict")
    if other and measured[0].model_sha256 == other[0].model_sha256:
        notes.append("both files hold the same bytes")
    if measured[0].device == "host" and request.threads > len(cores()):
        notes.append(f"{request.threads} threads share the {len(cores())} cores that this process may use")
    if target and measured[0].device == "host":
        notes.append(f"these are figures of this machine, not of {target.name}")
    return notes
