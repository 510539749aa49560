"""Devices: the only code that touches hardware; one backend a file.

A backend is a module here with a function `connect(spec, target) -> Device`; `open_device("host")` or
`open_device("ssh://pi@board")` finds it by the name before the colon, and hands it the target whose profile it needs.
Every number is a Measurement that says what it is: **measured** on the silicon that it is about, **emulated** (counted
while a real binary ran elsewhere), or **estimated** by a model. What was disturbed says so in `valid` and `why_invalid`;
it is shown, and never used again.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from pipeline.errors import DeviceError, did_you_mean
from targets import Target

Label = Literal["measured", "emulated", "estimated"]


@dataclass(frozen=True)
class Request:
    """What to measure and how long; equal requests of equal files give numbers that may stand for one another.

    Each of `processes` fresh processes warms up, then runs for at least `min_seconds` and `min_runs`, but no longer than
    `max_seconds`, however slow the model is. Eight are the fewest whose pairs can show a difference with 99 % confidence.
    `shapes` gives inputs of open size as (name, "1x3x224x224"); `inputs` names an .npz of samples that take turns, in the
    place of random ones.
    """

    threads: int = 1
    processes: int = 8
    warmup_seconds: float = 0.3
    min_seconds: float = 0.5
    min_runs: int = 50
    max_runs: int = 50_000
    max_seconds: float = 10.0
    seed: int = 0
    shapes: tuple[tuple[str, str], ...] = ()
    inputs: str = ""


QUICK = Request(processes=2, warmup_seconds=0.02, min_seconds=0.05, min_runs=20, max_runs=5000, max_seconds=2.0)
"""For tests and first looks: too short to be trusted with a verdict."""


@dataclass(frozen=True)
class Histogram:
    """How samples are spread: how many lie in each of the equal bins between `low` and `high`, and how many are slower (`beyond`)."""

    low: float
    high: float
    counts: tuple[int, ...]
    beyond: int


_PER = " per inference"
UNITS = frozenset({"us", "ms", "s", "B", "KiB", "%", "cycles", f"instructions{_PER}", f"misses{_PER}", f"KiB{_PER}"})
"""Of quantities; none is ever below 0."""
RECORDED = "replay of "
"""How the name of a recorded device begins."""


@dataclass(frozen=True)
class Measurement:
    """One quantity of one file on one device.

    Of what is measured, `value` is the median of `process_medians`, `low` and `high` its 95 % interval over processes, `p90`
    and `p99` percentiles of all samples (p99 of a thousand or more), `p90_low` and `p90_high` the 95 % interval of the first over processes, and `drift` how much slower the last third of a
    process's samples was than the first (0.02 = 2 %), `histogram` their spread; None where a quantity has none. An estimate has its error band as
    `low` and `high`, an exact count its value. `how` says where a figure that nobody timed comes from: the model, its
    calibration and its error; and of a board its cores, governor, clock and heat. `machine` tells two devices of one name apart. `together` lists the digests of the files
    that took turns with this one. `made_at` is the caller's to fill: a device has no clock that anyone should trust.
    """

    model: str
    model_sha256: str
    quantity: str
    unit: str
    label: Label
    device: str
    machine: str
    runtime: str
    runtime_version: str
    threads: int
    value: float
    low: float
    high: float
    samples: int
    processes: int
    process_medians: tuple[float, ...]
    valid: bool
    why_invalid: str
    together: tuple[str, ...]
    p90: float | None = None
    p99: float | None = None
    drift: float | None = None
    histogram: Histogram | None = None
    how: str = ""
    made_at: str = ""
    p90_low: float | None = None
    p90_high: float | None = None

    @property
    def of_host(self) -> bool:
        """Whether the machine at hand was at work, now or in a recording: its figures judge no target."""
        return is_host(self.device)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object; `from_json` is the way back."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Measurement":
        """Return the measurement in a JSON object; DeviceError when it is none."""
        known = {field.name for field in fields(cls)}
        try:
            lists = {name: tuple(record.get(name, ())) for name in ("process_medians", "together")}
            spread = record.get("histogram") and Histogram(
                **{**record["histogram"], "counts": tuple(record["histogram"]["counts"])}
            )
            kept = {name: value for name, value in record.items() if name in known}
            return cls(**{**kept, **lists, "histogram": spread})
        except (TypeError, KeyError) as error:
            raise DeviceError(f"a recorded measurement can't be read ({error}); measure again with --fresh") from error


class Device(Protocol):
    """Something that runs a model file and says what it saw."""

    @property
    def name(self) -> str:
        """How reports call it, e.g. "host"."""

    @property
    def machine(self) -> str:
        """What hardware and system it is, so that numbers of two machines are never mixed."""

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the name and version of the runtime that would run this file."""

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Measure files in turns, so that what disturbs the device disturbs all of them alike.

        Each file gets its quantities, the one that it is judged by first: "latency" where there is one.
        """


def backends() -> dict[str, Callable[[str, Target | None], Device]]:
    """Return `connect` of each backend by its name: every module here that has one."""
    return {name: module.connect for name, module in _modules().items()}


def described() -> dict[str, tuple[str, str]]:
    """Return of each backend the first line about it, and how far it is ready where it says so by a function `state`."""
    return {
        name: ((module.__doc__ or "").partition("\n")[0], module.state() if hasattr(module, "state") else "")
        for name, module in _modules().items()
    }


def set_up(name: str, say: Callable[[str], None]) -> str:
    """Fetch and build what a backend needs and return what that cost; DeviceError for one that needs nothing."""
    known = {found: module.set_up for found, module in _modules().items() if hasattr(module, "set_up")}
    if name not in known:
        raise DeviceError(f"nothing to set up for {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}")
    return str(known[name](say))


def open_device(spec: str, target: Target | None = None) -> Device:
    """Return the device of a spec like "host"; DeviceError for a backend that isn't known, or that needs a target."""
    name = spec.partition("?")[0].partition(":")[0]
    known = backends()
    if name not in known:
        raise DeviceError(f"no device {spec!r}; known: {', '.join(sorted(known))}{did_you_mean(name, known)}")
    return known[name](spec, target)


def tells_latency(device: Device) -> bool:
    """Whether it can tell a target's latency: the host's own is none, and what only counts says `tells_latency = False`."""
    return not is_host(device.name) and bool(getattr(device, "tells_latency", True))


def is_host(device_name: str) -> bool:
    """Whether a device's name is that of the machine at hand, or of a recording of it, or of a recording's recording."""
    return device_name.replace(RECORDED, "") == "host"


def _modules() -> dict[str, ModuleType]:
    modules = {found.name: importlib.import_module(f"devices.{found.name}") for found in pkgutil.iter_modules(__path__)}
    return {name: module for name, module in modules.items() if hasattr(module, "connect")}
