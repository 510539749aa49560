"""Recorded measurements as a device: replay:FILE[?device=NAME]. The fake that ships.

FILE holds measurements as `Measurement.to_json` writes them: a line each, or one JSON document with them in lists or under
"measurements", as `edgepress bench --json` prints. They come back as recorded, label and all, when the file's digest and the
number of threads are those asked for; where there are several of one quantity, the last. Nothing else of a request is
compared: a recording doesn't say how long it ran. `device` reads "replay of ..." and `how` says when it was recorded, so
that a recording is never taken for a measurement of today. Reading is strict and bounded.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from devices import RECORDED, UNITS, Measurement, Request
from devices.spec import read_path, split_options
from pipeline.errors import DeviceError, RefusedError, root_cause
from targets import Target

MOST_BYTES = 32 * 2**20
MOST_MEASUREMENTS = 100_000
DEEPEST = 4
"""Lists and objects around a measurement."""


@dataclass(frozen=True)
class Replay:
    """A recording of one device; `device` names it where the file holds several."""

    path: Path
    device: str = ""

    @property
    def name(self) -> str:
        """Whose recording it is."""
        return f"{RECORDED}{self._recorded[0].device}"

    @property
    def machine(self) -> str:
        """The machine that was recorded, and which recording it is, so that an edited one is another."""
        return f"{self._recorded[0].machine}, recording {sha256(self._content).hexdigest()[:8]}"

    @property
    def tells_latency(self) -> bool:
        """Whether a latency was recorded, of whichever file."""
        return any(each.quantity == "latency" for each in self._recorded)

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the runtime that the file was recorded with."""
        found = self._of(model)[-1]
        return found.runtime, found.runtime_version

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Return what was recorded of files; they took turns as far as the recording says so of all of them at once."""
        found = [self._last(model, request.threads) for model in models]
        sessions = {(each.together, each.made_at) for measured in found for each in measured}
        return [
            tuple(
                replace(
                    each,
                    model=model.name,
                    device=self.name,
                    machine=self.machine,
                    together=each.together if len(sessions) == 1 else (each.model_sha256,),
                    how="; ".join(part for part in (each.how, f"recorded {each.made_at}".strip()) if part),
                    made_at="",
                )
                for each in measured
            )
            for model, measured in zip(models, found, strict=True)
        ]

    def _last(self, model: Path, threads: int) -> tuple[Measurement, ...]:
        same = self._of(model)
        chosen = {each.quantity: each for each in same if each.threads == threads}
        if not chosen:
            known = sorted({each.threads for each in same})
            raise RefusedError(
                f"{self.path}: {model.name} was not recorded with {threads} threads, only with {', '.join(map(str, known))}",
                model,
            )
        return tuple(chosen.values())

    def _of(self, model: Path) -> list[Measurement]:
        """Return what was recorded of a file with the runtime that it was last recorded with."""
        try:
            digest = sha256(model.read_bytes()).hexdigest()
        except OSError as error:
            raise DeviceError(f"can't read model {model} ({error.strerror}); give an .onnx or .tflite file") from error
        same = [each for each in self._recorded if each.model_sha256 == digest]
        if not same:
            known = sorted({f"{each.model} ({each.model_sha256[:12]})" for each in self._recorded})
            raise RefusedError(
                f"{self.path}: {model.name} ({digest[:12]}) was not recorded; known: {', '.join(known)[:400]}", model
            )
        runtime = (same[-1].runtime, same[-1].runtime_version)
        return [each for each in same if (each.runtime, each.runtime_version) == runtime]

    @cached_property
    def _content(self) -> bytes:
        return _read(self.path)

    @cached_property
    def _recorded(self) -> list[Measurement]:
        every = list(_measurements(self._content, self.path))
        devices = sorted({each.device for each in every})
        wanted = [each for each in every if self.device in ("", each.device)]
        if not wanted or len({(each.device, each.machine) for each in wanted}) > 1:
            hint = "choose one by ?device=NAME" if len(devices) > 1 else "a recording holds one machine"
            raise DeviceError(f"{self.path} holds recordings of: {', '.join(devices)[:400]}; {hint}")
        return wanted


def connect(spec: str, _target: Target | None) -> Replay:
    """Return the recording of a spec, which is read here, so that a wrong file is told at once."""
    head, options = split_options(spec, ("device",))
    path = head.removeprefix("replay:")
    if path == head or not path:
        raise DeviceError(f"no device {spec!r}; write replay:FILE, FILE being what `edgepress bench --json` printed")
    replay = Replay(read_path(path, head), options.get("device", ""))
    _ = replay.name
    return replay


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DeviceError(
            f"can't read recording {path} ({error.strerror}); give what `edgepress bench --json` printed"
        ) from error
    if len(content) > MOST_BYTES:
        raise DeviceError(
            f"recording {path} is larger than {MOST_BYTES // 2**20} MiB; keep the measurements that you need"
        )
    return content


def _measurements(content: bytes, path: Path) -> Iterator[Measurement]:
    count = 0
    for where, document in _documents(content, path):
        for record in _records(document, where, DEEPEST):
            count += 1
            if count > MOST_MEASUREMENTS:
                raise DeviceError(
                    f"recording {path} holds more than {MOST_MEASUREMENTS} measurements; keep those that you need"
                )
            yield _measurement(record, where)
    if not count:
        raise DeviceError(f"recording {path} holds no measurement; give what `edgepress bench --json` printed")


def _documents(content: bytes, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the one document of a file, or that of each line, with where it stands."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise DeviceError(
            f"recording {path} is no text in UTF-8; give what `edgepress bench --json` printed"
        ) from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    try:
        yield str(path), json.loads(text)
    except (ValueError, RecursionError):
        if len(lines) < 2:
            raise DeviceError(f"recording {path} is no JSON; give what `edgepress bench --json` printed") from None
        for number, line in lines:
            try:
                document = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DeviceError(f"recording {path}, line {number} is no JSON ({str(error)[:80]})") from None
            yield f"{path}, line {number}", document


def _records(document: Any, where: str, depth: int) -> Iterator[dict[str, Any]]:
    if depth and isinstance(document, list):
        for part in document:
            yield from _records(part, where, depth - 1)
    elif depth and isinstance(document, dict) and "quantity" in document:
        yield document
    elif depth and isinstance(document, dict) and "measurements" in document:
        yield from _records(document["measurements"], where, depth - 1)
    else:
        raise DeviceError(
            f"{where}: a measurement is expected, an object with quantity, value, ...; found {str(document)[:60]!r}"
        )


def _measurement(record: dict[str, Any], where: str) -> Measurement:
    known = {field.name for field in fields(Measurement)}
    if foreign := sorted(set(record) - known):
        raise DeviceError(f"{where}: unknown key {foreign[0]!r:.80}; known: {', '.join(sorted(known))}")
    try:
        # By way of JSON: strict validation then takes an array for a tuple, and nothing else for anything else.
        measured = _ADAPTER.validate_json(json.dumps(record), strict=True)
    except ValidationError as error:
        raise DeviceError(f"{where}: {root_cause(error, known)}") from error
    told = (measured.p90, measured.p90_low, measured.p90_high, measured.p99)
    optional = [figure for figure in told if figure is not None]
    spread = (measured.histogram.low, measured.histogram.high) if measured.histogram else ()
    figures = (measured.value, measured.low, measured.high, *measured.process_medians, *optional, *spread)
    if (
        not all(math.isfinite(figure) for figure in (*figures, measured.drift or 0))
        or not measured.low <= measured.value <= measured.high
    ):
        raise DeviceError(
            f"{where}: a value lies within its interval; found {measured.value} in {measured.low} to {measured.high}"
        )
    processes, medians = max(1, measured.processes), len(measured.process_medians)
    if (measured.label == "measured" or processes > 1) and medians != processes:
        raise DeviceError(f"{where}: process_medians has one median a process; found {medians} of {processes}")
    if min(figures) < 0 or (measured.quantity == "latency" and not min(figures)):
        raise DeviceError(f"{where}: {measured.quantity} = {min(figures):g}; no figure is below 0, and no latency is 0")
    if measured.unit not in UNITS:
        raise DeviceError(f"{where}: unknown unit {measured.unit!r:.60}; known: {', '.join(sorted(UNITS))}")
    if measured.valid == bool(measured.why_invalid):
        raise DeviceError(f"{where}: valid = {measured.valid} goes with why_invalid = {measured.why_invalid!r:.60}")
    return measured


_ADAPTER = TypeAdapter(Measurement)
