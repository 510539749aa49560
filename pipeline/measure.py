"""Which files of a run are measured, where, and how often: the host always, the target's own device where one is given.

All files of one device and thread count take turns in one go, so that they can be compared with each other.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from devices import Device, Measurement, Request, open_device
from pipeline.bench import measure as measure_files
from pipeline.report.build import Made
from pipeline.report.model import MeasurementFacts
from pipeline.store import Store


def measure(
    made: Made, store: Store, *, target: str, device: str | None, fresh: bool, say: Callable[[str], None]
) -> tuple[MeasurementFacts, ...]:
    """Measure every exported file of a run with one thread and with all; valid measurements are used again."""
    made_by_row = {row.title: made.done[row.model].artifact for row in made.plan.rows}
    files = {title: artifact for title, artifact in made_by_row.items() if artifact.kind in ("onnx", "tflite")}
    paths = {title: artifact.file(f"model.{artifact.kind}") for title, artifact in files.items()}
    found: list[MeasurementFacts] = []
    for name, spec in (("host", "host"), *([(target, device)] if device else [])):
        opened = open_device(spec)
        for threads in _thread_counts():
            say(f"measuring {len(paths)} files on {name}, {threads} thread{'s' if threads > 1 else ''}")
            found += _figures(paths, opened, store, name=name, threads=threads, fresh=fresh)
    return tuple(found)


def _thread_counts() -> tuple[int, ...]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (1, cores) if cores > 1 else (1,)


def _figures(
    paths: dict[str, Path], device: Device, store: Store, *, name: str, threads: int, fresh: bool
) -> Iterator[MeasurementFacts]:
    made_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    request = replace(Request(), threads=threads)
    measured = measure_files(list(paths.values()), device, request, store, made_at=made_at, fresh=fresh)
    for title, measurement in zip(paths, measured, strict=True):
        yield _facts(title, measurement, name=name)


def _facts(title: str, measurement: Measurement, *, name: str) -> MeasurementFacts:
    factor, unit = (0.001, "ms") if measurement.unit == "us" else (1.0, measurement.unit)
    return MeasurementFacts(
        model=title,
        device=name,
        machine=measurement.machine,
        runtime=f"{measurement.runtime} {measurement.runtime_version}",
        threads=measurement.threads,
        quantity=measurement.quantity,
        unit=unit,
        label=measurement.label,
        value=measurement.value * factor,
        p90=measurement.p90 * factor,
        low=measurement.low * factor,
        high=measurement.high * factor,
        samples=measurement.samples,
        processes=measurement.processes,
        drift=measurement.drift,
        valid=measurement.valid,
        why_invalid=measurement.why_invalid or None,
        made_at=measurement.made_at,
    )
