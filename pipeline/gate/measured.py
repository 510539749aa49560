"""What a device says of a file, turned into figures that a budget can judge.

A figure of this machine never judges a target, an invalid one judges nothing, and neither does an estimate whose error
nobody published: its band has no width, which is not the same as being exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devices import Device, Measurement, Request, open_device
from pipeline.bench import Observations
from pipeline.bench import measure as measure_files
from pipeline.gate.budget import Figure
from targets import Target


@dataclass(frozen=True)
class Source:
    """Which quantity of a measurement a budget key is about; `percentile` where it isn't the median."""

    quantity: str
    percentile: str = ""
    uncertain: bool = False


SOURCES: Mapping[str, Source] = {
    "latency_ms": Source("latency", uncertain=True),
    "p90_ms": Source("latency", percentile="p90", uncertain=True),
    "load_ms": Source("load", uncertain=True),
    "first_ms": Source("first inference", uncertain=True),
    "process_kib": Source("peak memory", uncertain=True),
    "instructions": Source("instructions"),
    "cycles": Source("cycles", uncertain=True),
    "sram_kib": Source("sram"),
    "cpu_operators_percent": Source("operators on the processor"),
    "arena_kib": Source("arena"),
}

TO_UNIT: Mapping[str, Mapping[str, float]] = {
    "_ms": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "_kib": {"B": 1 / 1024, "bytes": 1 / 1024, "KiB": 1.0, "kib": 1.0, "MiB": 1024.0},
}
"""How a unit becomes that of a key that ends so; a key without such an end is told as it is."""


def measure(
    model: Path, spec: str, target: Target | None, store: Observations, *, made_at: str
) -> tuple[Measurement, ...]:
    """Measure a file on a device, or use a valid measurement of the same bytes again."""
    device: Device = open_device(spec, target)
    return measure_files([model], device, Request(), store, made_at=made_at)[0]


def figures(measurements: Sequence[Measurement], target: Target | None) -> dict[str, Figure]:
    """Return what a budget can judge of measurements, by its keys."""
    if not measurements:
        return {}
    known: dict[str, Figure] = {}
    for key, source in SOURCES.items():
        found = next((each for each in measurements if each.quantity == source.quantity), None)
        untold = f"{measurements[0].device} doesn't tell it; name a device that does with --device"
        known[key] = (
            Figure(None, None, None, None, "", untold) if found is None else _figure(key, source, found, target)
        )
    return known


def in_unit_of(key: str, value: float, unit: str) -> float | None:
    """Return a value in the unit that a budget key names; None when it has no such form."""
    for end, factors in TO_UNIT.items():
        if key.endswith(end):
            return value * factors[unit] if unit in factors else None
    return value


def _figure(key: str, source: Source, measurement: Measurement, target: Target | None) -> Figure:
    how = _how(measurement)
    if source.percentile:
        told = measurement.p90, measurement.p90_low, measurement.p90_high
        if any(each is None for each in told):
            missing = f"{measurement.device} gives no 90th percentile with its spread over processes"
            return Figure(None, None, None, None, how, missing)
        known = [each for each in told if each is not None]
        measurement = replace(measurement, value=known[0], low=min(known), high=max(known))
    bounds = [
        in_unit_of(key, each, measurement.unit) for each in (measurement.value, measurement.low, measurement.high)
    ]
    value, low, high = bounds
    missing = _cannot_judge(source, measurement, target)
    if not missing and value is None:
        missing = f"{measurement.device} tells it in {measurement.unit!r}, which isn't a unit of {key}"
    return Figure(value, low, high, measurement.label, how, missing)


def _cannot_judge(source: Source, measurement: Measurement, target: Target | None) -> str:
    if not measurement.valid:
        return f"{_how(measurement)}, not valid: {measurement.why_invalid}"
    if target is not None and measurement.of_host and measurement.label == "measured":
        return f"{measurement.device} was measured, which never judges {target.name}; give that device's own (--device)"
    if measurement.label == "estimated" and source.uncertain and measurement.low == measurement.high:
        return f"{measurement.how or _how(measurement)}: an estimate of unknown error judges nothing"
    return ""


def _how(measurement: Measurement) -> str:
    threads = f", {measurement.threads} thread{'s' if measurement.threads != 1 else ''}"
    return f"{measurement.label} on {measurement.device}, {measurement.runtime} {measurement.runtime_version}{threads}"
