"""The audit of a recipe's teachers in words: a table, a verdict, and the line that stops a run."""

from collections.abc import Mapping
from typing import Any

ADVICE = {
    "broken": "mend the teacher as the findings say",
    "weaker than the student": "take a stronger teacher, or leave distill's teachers out",
    "no gain shown": "take a stronger teacher, or a longer probe (probe_steps in [audit])",
}
COLUMNS = (
    "teacher",
    "validation score [95 %]",
    "calibration error",
    "temperature",
    "parameters, MACs of the student's",
    "found",
)


def rows(audit: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return a row for each teacher, as COLUMNS has it."""
    return tuple(_row(name, teacher) for name, teacher in audit["teachers"].items())


def notes(audit: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the verdict and what it rests on, a sentence each."""
    probe, gain = audit["probe"], audit["probe"]["gain"]
    epochs = f"{probe['epochs']} epoch{'s' * (probe['epochs'] > 1)}"
    told = [
        f"verdict: {audit['verdict']}",
        (
            f"after {epochs} the student scores {_interval(probe['alone'])} alone and {_interval(probe['taught'])} taught: "
            f"a gain of {_interval(gain, signed=True)}, of one seed; what is gained early may be gone at the end"
        ),
        f"the best teacher is {_interval(audit['ahead'], signed=True)} ahead of that student alone",
    ]
    told += [f"{pair} name the same class on {share:.1%}" for pair, share in audit["agreement"].items()]
    return tuple(told)


def why_stopped(audit: Mapping[str, Any]) -> str | None:
    """Return why a run should stop here, in one line; None where the teachers are worth it."""
    if audit["verdict"] not in ADVICE:
        return None
    found = [
        f"teacher {name!r} {finding['says']}"
        for name, teacher in audit["teachers"].items()
        for finding in teacher["findings"]
        if finding["broken"]
    ]
    told = "; ".join(found) or "; ".join(notes(audit)[1:3])
    return f"the teachers' audit says {audit['verdict']!r}: {told}; {ADVICE[audit['verdict']]}"


def _row(name: str, teacher: Mapping[str, Any]) -> tuple[str, ...]:
    error, temperature = (teacher.get(key) for key in ("calibration_error", "temperature"))
    ratios = ", ".join(
        "unknown" if teacher[key] is None else f"{teacher[key]:.1f}x" for key in ("parameters_ratio", "macs_ratio")
    )
    found = "; ".join(f"{finding['code']}: {finding['says']}" for finding in teacher["findings"]) or "nothing"
    return (
        name,
        _interval(teacher["score"]),
        "" if error is None else f"{error:.3f}",
        "" if temperature is None else f"{temperature:.2f}",
        ratios,
        found,
    )


def _interval(found: Mapping[str, float], *, signed: bool = False) -> str:
    value, low, high = (f"{found[key]:+.4f}" if signed else f"{found[key]:.4f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
