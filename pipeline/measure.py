"""Which files of a run are measured, where, and how often: the host always, the target's own device where one is given.

All files of one device and thread count take turns in one go, so that they can be compared with each other. A file that a
device can't take is left out, and said.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from devices import Device, Measurement, Request, open_device
from devices.host import cores
from devices.layer_times import LayerTime as Timed
from devices.layer_times import caveat
from pipeline.bench import measure as measure_files
from pipeline.benchmark import Layered
from pipeline.errors import DeviceError, RefusedError
from pipeline.report.gains import Measured
from pipeline.report.inside import MOST_LAYERS
from pipeline.report.made import Made
from pipeline.report.model import LayerTime, LayerTimes
from pipeline.store import Store
from targets import Target


class LayeredDevice(Device, Layered, Protocol):
    """A device that also tells what each operator takes."""


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
    for name, opened in _places(target, device, say):
        for threads in _thread_counts(opened, target) if paths else ():
            say(f"measuring {len(paths)} files on {name}, {threads} thread{'s' if threads > 1 else ''}")
            request = replace(Request(), threads=threads)
            taken = _taken(paths, opened, request, store, fresh=fresh, say=say)
            for title, quantities in taken.items():
                found += [Measured(title, _named(name, each), each) for each in quantities]
    return tuple(found)


def _places(target: Target, device: str | None, say: Callable[[str], None]) -> Iterator[tuple[str, Device]]:
    """Give the host and what stands for the target, by the names that reports know them by."""
    yield "host", open_device("host", target)
    if device:
        opened = open_device(device, target)
        if opened.name == "host":
            say(f"--device {device} is measured anyway, and never judges {target.name}")
        else:
            yield target.name, opened


def _named(name: str, measurement: Measurement) -> str:
    """Return the device's name, which verdicts go by: what only passes for the target keeps its own."""
    return measurement.device if measurement.of_host else name


def measure_layers(
    made: Made, *, target: Target, device: str | None, say: Callable[[str], None]
) -> tuple[LayerTimes, ...]:
    """Return what each operator of the recipe's files takes, where a device tells: ONNX Runtime on the host, Vela."""
    files = {row.title: made.done[row.model].artifact for row in made.file_rows() if made.recipe.measure}
    paths = {title: artifact.file(f"model.{artifact.kind}") for title, artifact in files.items()}
    found: list[LayerTimes] = []
    for name, opened in _places(target, device, lambda _: None):  # `measure` has said it
        if isinstance(opened, Layered):
            found += _layers_told(paths, name, opened, say)
    return tuple(found)


def _layers_told(
    paths: Mapping[str, Path], name: str, device: LayeredDevice, say: Callable[[str], None]
) -> Iterator[LayerTimes]:
    """Give the times of each file's layers; what a device doesn't take or tell is left out, and what breaks is said."""
    for title, path in paths.items():
        try:
            device.runtime(path)
            layers = device.layers(path, Request())
        except RefusedError:
            continue  # its runtime takes no such file, or tells no layers
        except DeviceError as error:
            say(f"no times of layers: {error}")  # the file itself was measured
            continue
        say(f"timed {len(layers)} layers of {title} on {name}")
        yield _layer_times(title, name, device, layers)


def _layer_times(title: str, name: str, device: LayeredDevice, layers: Sequence[Timed]) -> LayerTimes:
    told = tuple(LayerTime(**asdict(layer)) for layer in layers[:MOST_LAYERS])
    return LayerTimes(
        file=title,
        device=name,
        label="measured" if device.name == "host" else "estimated",
        how=caveat(layers) or f"{device.name}'s own account",
        layers=told,
    )


def _taken(
    paths: Mapping[str, Path],
    device: Device,
    request: Request,
    store: Store,
    *,
    fresh: bool,
    say: Callable[[str], None],
) -> dict[str, tuple[Measurement, ...]]:
    """Return the measurements of the files that the device takes; says which it refuses, and goes on without them."""
    left = dict(paths)
    while left:
        made_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
        try:
            measured = measure_files(list(left.values()), device, request, store, made_at=made_at, fresh=fresh)
            return dict(zip(left, measured, strict=True))
        except RefusedError as error:
            if error.model not in left.values():
                raise
            refused = [title for title, path in left.items() if path == error.model]
            say(f"{', '.join(refused)}: {error}")
            left = {title: path for title, path in left.items() if title not in refused}
    return {}


def _thread_counts(device: Device, target: Target) -> list[int]:
    """Return one and all cores; a device that says `threaded = False` knows no threads."""
    if not getattr(device, "threaded", True):
        return [1]
    count = len(cores()) if device.name == "host" else sum(core.count.value for core in target.cores if core.count)
    return sorted({1, max(1, count)})
