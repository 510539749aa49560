"""What changed since the baseline: each difference told, and those that make a model worse as findings.

A tolerance is in percent of the old figure, that of accuracies in percent of all samples. Figures of another runtime,
machine or set of samples are not comparable: told, and no regression.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.checks.finding import Finding, Severity
from pipeline.gate.baseline import Agreed, Baseline, Entry, Measured
from pipeline.gate.budget import number
from pipeline.gate.codes import found
from pipeline.gate.verdict import Change, Direction

KIB = 1024
CIRCUMSTANCES = ("unit", "label", "runtime", "machine")
BY_CLOCK = frozenset({"latency", "load", "first inference", "peak memory"})
COUNTED: Mapping[str, str] = {
    "instructions": "baseline-count",
    "cycles": "baseline-count",
    "operators on the processor": "baseline-count",
    "sram": "baseline-memory",
    "arena": "baseline-memory",
}
"""Quantities without noise of which more is worse; what isn't here, like instructions of one class, is told alone."""


@dataclass(frozen=True)
class Difference:
    """One change, and the finding that it is where it makes the model worse or its caller break."""

    change: Change
    finding: Finding | None


def compare(old: Entry, new: Entry, baseline: Baseline) -> tuple[Difference, ...]:
    """Return every difference between a model as it was and as it is."""
    fused_alike = old.fused_by == new.fused_by
    peak = _grown("peak_activation_bytes", old, new, baseline, code="baseline-memory", what="peak memory", kib=True)
    floats = _grown("float_operators", old, new, baseline, code="baseline-float", what="operators in float")
    return (
        *_grown("size_bytes", old, new, baseline, code="baseline-size", what="size", kib=True),
        *_grown("macs", old, new, baseline, code="baseline-macs", what="MACs"),
        *(peak if fused_alike else ()),
        *(floats if fused_alike else ()),
        *_signature(old, new),
        *_operators(old, new),
        *_quantisation(old, new),
        *_agreement(old, new, baseline),
        *_measurements(old, new, baseline),
    )


def _grown(
    key: str, old: Entry, new: Entry, baseline: Baseline, *, code: str, what: str, kib: bool = False
) -> Iterator[Difference]:
    before, after = getattr(old, key), getattr(new, key)
    if before is None or after is None or before == after:
        return
    tolerance = baseline.tolerance(key)
    worse = after > before * (1 + tolerance / 100)
    direction: Direction = "worse" if worse else "better" if after < before else "changed"
    told = _told(before / KIB, after / KIB, " KiB") if kib else _told(before, after)
    change = Change(what, before, after, direction, told)
    yield _difference(change, code, "error", what, worse=worse, allowed=f"{tolerance:g} %")


def _signature(old: Entry, new: Entry) -> Iterator[Difference]:
    for what in ("inputs", "outputs"):
        before, after = getattr(old, what), getattr(new, what)
        if before != after:
            told = f"{'; '.join(before) or 'none'} -> {'; '.join(after) or 'none'}"
            yield _difference(
                Change(what, before, after, "changed", told), "baseline-signature", "error", what, worse=True
            )


def _operators(old: Entry, new: Entry) -> Iterator[Difference]:
    if old.operators == new.operators:
        return
    if old.fused_by != new.fused_by:
        told = f"operators fused by {old.fused_by} -> {new.fused_by}"
        yield _difference(
            Change("operators", None, None, "not comparable", told),
            "baseline-incomparable",
            "note",
            "operators",
            worse=True,
        )
        return
    for name in sorted({*old.operators, *new.operators}):
        before, after = old.operators.get(name, 0), new.operators.get(name, 0)
        if before != after:
            change = Change(f"operator {name}", before, after, "changed", f"{before} -> {after}")
            yield _difference(change, "baseline-operators", "warning", change.what, worse=True)


def _quantisation(old: Entry, new: Entry) -> Iterator[Difference]:
    before, after = old.quantization_sha256, new.quantization_sha256
    if before == after:
        return
    told = "scales or zero points" if before and after else "it was float" if after else "it is float now"
    change = Change("quantisation", before, after, "changed", told)
    yield _difference(change, "baseline-quantisation", "note", "quantisation", worse=True)


def _agreement(old: Entry, new: Entry, baseline: Baseline) -> Iterator[Difference]:
    if old.agreement == Agreed() or new.agreement == Agreed():
        return
    if old.agreement.samples_sha256 != new.agreement.samples_sha256:
        change = Change("accuracy", None, None, "not comparable", "judged on other samples than the baseline")
        yield _difference(change, "baseline-incomparable", "note", "accuracy", worse=True)
        return
    tolerance = baseline.tolerance("accuracy")
    for key in ("accuracy", "argmax_agreement"):
        before, after = getattr(old.agreement, key), getattr(new.agreement, key)
        if before is not None and after is not None and before != after:
            worse = before - after > tolerance / 100
            direction: Direction = "worse" if worse else "better" if after > before else "changed"
            change = Change(key, before, after, direction, f"{before:.4f} -> {after:.4f}")
            yield _difference(change, "baseline-accuracy", "error", key, worse=worse, allowed=f"{tolerance:g} points")


def _measurements(old: Entry, new: Entry, baseline: Baseline) -> Iterator[Difference]:
    for name, after in sorted(new.measurements.items()):
        before = old.measurements.get(name)
        if before is None:
            continue
        apart = [
            f"{key} {getattr(before, key)} -> {getattr(after, key)}"
            for key in CIRCUMSTANCES
            if getattr(before, key) != getattr(after, key)
        ]
        if apart:
            change = Change(name, before.value, after.value, "not comparable", "; ".join(apart))
            yield _difference(change, "baseline-incomparable", "note", name, worse=True)
        elif before.value != after.value:
            yield _figure(name, before, after, baseline)


def _figure(name: str, before: Measured, after: Measured, baseline: Baseline) -> Difference:
    quantity = name.rsplit(", ", 2)[1]
    tolerance = baseline.tolerance("latency" if quantity in BY_CLOCK else "counts")
    if quantity in BY_CLOCK:
        code, worse = "baseline-latency", after.low > before.high * (1 + tolerance / 100)
        better = after.high < before.low
    else:
        code = COUNTED.get(quantity, "")
        worse = bool(code) and after.value > before.value * (1 + tolerance / 100)
        better = bool(code) and after.value < before.value
    direction: Direction = "worse" if worse else "better" if better else "changed"
    unit = "" if after.unit == quantity else f" {after.unit}"
    change = Change(name, before.value, after.value, direction, _told(before.value, after.value, unit))
    return _difference(change, code or "baseline-count", "error", name, worse=worse, allowed=f"{tolerance:g} %")


def _difference(
    change: Change, code: str, severity: Severity, where: str, *, worse: bool, allowed: str = ""
) -> Difference:
    if not worse:
        return Difference(change, None)
    tolerated = f"; tolerated is {allowed}" if allowed else ""
    return Difference(change, found(code, f"{change.what}: {change.told}{tolerated}", severity=severity, where=where))


def _told(before: float, after: float, unit: str = "") -> str:
    percent = f", {100 * (after / before - 1):+.1f} %" if before else ""
    return f"{number(before)} -> {number(after)}{unit}{percent}"
