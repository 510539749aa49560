"""Which files of a run are measured, where, and how often: the host always, the target's own device where one is given.

All files of one device and thread count take turns in one go, so that they can be compared with each other.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from devices import Request, open_device
from pipeline.bench import measure as measure_files
from pipeline.report.gains import Measured
from pipeline.report.made import Made
from pipeline.store import Store
from targets import Target


def measure(
    made: Made, store: Store, *, target: Target, device: str | None, fresh: bool, say: Callable[[str], None]
) -> tuple[Measured, ...]:
    """Measure every exported file of a run with one thread and with all; valid measurements are used again."""
    if not made.recipe.measure:
        return ()
    made_by_row = {row.title: made.done[row.model].artifact for row in made.plan.rows}
    files = {title: artifact for title, artifact in made_by_row.items() if artifact.kind in ("onnx", "tflite")}
    paths = {title: artifact.file(f"model.{artifact.kind}") for title, artifact in files.items()}
    found: list[Measured] = []
    for name, spec in (("host", "host"), *([(target.name, device)] if device else [])):
        opened = open_device(spec, target)
        for threads in _thread_counts() if paths else ():
            say(f"measuring {len(paths)} files on {name}, {threads} thread{'s' if threads > 1 else ''}")
            request = replace(Request(), threads=threads)
            made_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
            measured = measure_files(list(paths.values()), opened, request, store, made_at=made_at, fresh=fresh)
            found += [Measured(title, name, each) for title, all_ in zip(paths, measured, strict=True) for each in all_]
    return tuple(found)


def _thread_counts() -> tuple[int, ...]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (1, cores) if cores > 1 else (1,)
