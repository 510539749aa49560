"""What the run's files gain over others of their format, with what they cost in score: both numbers, always.

A file stands against the reference's file and against the control's, which other tools quantised. Latencies are compared
only where both measurements are valid; where both files took turns, turn by turn.
"""

from dataclasses import dataclass

from devices import Histogram, Measurement
from pipeline.bench import compare
from pipeline.plan import Row
from pipeline.report.intervals import paired_difference
from pipeline.report.made import Made, size_bytes
from pipeline.report.model import Gain, Interval, LatencyRatio, MeasurementFacts, Spread


@dataclass(frozen=True)
class Measured:
    """A measurement of a row's file; `device` is the name that the report gives to where it was measured."""

    title: str
    device: str
    measurement: Measurement


def gains(made: Made, measured: tuple[Measured, ...]) -> tuple[Gain, ...]:
    """Return each exported file against the other files of its format."""
    files = [row for row in made.plan.rows if made.done[row.model].artifact.kind in ("onnx", "tflite")]
    return tuple(
        _gain(made, old, new, measured)
        for new in made.file_rows()
        for old in files
        if old.model not in made.plan.files and _kind(made, old) == _kind(made, new)
    )


def facts_of(measured: Measured) -> MeasurementFacts:
    """Return a measurement as the report holds it, latency in ms."""
    measurement = measured.measurement
    factor, unit = _in_ms(measurement)
    return MeasurementFacts(
        model=measured.title,
        device=measured.device,
        machine=measurement.machine,
        runtime=f"{measurement.runtime} {measurement.runtime_version}",
        threads=measurement.threads,
        quantity=measurement.quantity,
        unit=unit,
        label=measurement.label,
        value=measurement.value * factor,
        p90=None if measurement.p90 is None else measurement.p90 * factor,
        p99=None if measurement.p99 is None else measurement.p99 * factor,
        low=measurement.low * factor,
        high=measurement.high * factor,
        samples=measurement.samples,
        processes=measurement.processes,
        drift=measurement.drift,
        histogram=_spread(measurement.histogram, factor),
        valid=measurement.valid,
        why_invalid=measurement.why_invalid or None,
        how=measurement.how,
        made_at=measurement.made_at,
    )


def _spread(found: Histogram | None, factor: float) -> Spread | None:
    if found is None:
        return None
    return Spread(low=found.low * factor, high=found.high * factor, counts=found.counts, beyond=found.beyond)


def _gain(made: Made, old: Row, new: Row, measured: tuple[Measured, ...]) -> Gain:
    before, after = made.done[old.model].artifact, made.done[new.model].artifact
    latencies = [each for each in measured if each.measurement.quantity == "latency"]
    of_old = {(each.device, each.measurement.threads): each for each in latencies if each.title == old.title}
    pairs = [
        (of_old[key], each)
        for each in latencies
        if each.title == new.title and (key := (each.device, each.measurement.threads)) in of_old
    ]
    return Gain(
        new=new.title,
        old=old.title,
        old_macs=before.facts.get("macs"),
        new_macs=after.facts.get("macs"),
        old_bytes=size_bytes(before),
        new_bytes=size_bytes(after),
        difference=paired_difference(
            made.scores[new.title], made.scores[old.title], samples=len(made.task.splits.test)
        ),
        latency=tuple(_ratio(first, second) for first, second in pairs),
    )


def _ratio(old: Measured, new: Measured) -> LatencyRatio:
    comparison = compare(new.measurement, old.measurement)
    valid = old.measurement.valid and new.measurement.valid
    ratio = comparison.ratio
    return LatencyRatio(
        device=new.device,
        label=new.measurement.label,
        threads=new.measurement.threads,
        old_ms=old.measurement.value * _in_ms(old.measurement)[0],
        new_ms=new.measurement.value * _in_ms(new.measurement)[0],
        ratio=Interval(value=ratio.value, low=ratio.low, high=ratio.high),
        interleaved=comparison.interleaved,
        verdict=comparison.verdict if valid else "not valid",
    )


def _in_ms(measurement: Measurement) -> tuple[float, str]:
    return (0.001, "ms") if measurement.unit == "us" else (1.0, measurement.unit)


def _kind(made: Made, row: Row) -> str:
    return made.done[row.model].artifact.kind
