"""The budget: limits by key, each judged by the figure that is known, and never by one that isn't about the target.

A line is kept when the whole interval of its figure is on the right side of the limit, missed when the whole of it is on
the wrong side, and not shown in between or where nothing is known. `LIMITS` is the grammar of keys: a key that begins with
"max_" or names a unit is a highest value, "min_" a lowest one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pipeline.checks.finding import Finding, Severity
from pipeline.errors import RecipeError
from pipeline.gate.codes import found
from pipeline.gate.verdict import Line, Outcome


@dataclass(frozen=True)
class Limit:
    """One key of a budget: what it bounds, and what to do where no figure is known."""

    meaning: str
    missing: str
    at_least: bool = False
    most: float = math.inf


@dataclass(frozen=True)
class Figure:
    """A value that a limit can judge, with its bounds; `missing` says why it can't judge after all."""

    value: float | None
    low: float | None
    high: float | None
    label: str | None
    how: str
    missing: str = ""


MOST_IN_FULL = 1e15
_DEVICE = "nothing measured it; give a device with --device"
_VELA = "nothing estimated it; give an Ethos-U target and --device vela"
_REFERENCE = "there is no reference; give --reference MODEL and --samples FILE.npz"
LIMITS: Mapping[str, Limit] = {
    "size_kib": Limit("the file's size", "the file wasn't read"),
    "macs": Limit(
        "multiplications of one inference", "the file holds open shapes, or an operator whose products no rule counts"
    ),
    "peak_memory_kib": Limit(
        "activations alive at one moment", "the file holds shapes that are open, so it can't be computed"
    ),
    "latency_ms": Limit("median time of one inference", _DEVICE),
    "p90_ms": Limit("time that nine of ten inferences stay below", _DEVICE),
    "load_ms": Limit("time to open the model", _DEVICE),
    "first_ms": Limit("time of the first inference", _DEVICE),
    "process_kib": Limit("memory that opening the file and three inferences add to a process", _DEVICE),
    "instructions": Limit("instructions of one inference", "nothing counted them; give --device qemu and a target"),
    "cycles": Limit("cycles of one inference", _VELA),
    "sram_kib": Limit("SRAM that the accelerator needs", _VELA),
    "cpu_operators_percent": Limit("operators left on the processor, of all", _VELA, most=100.0),
    "arena_kib": Limit("TensorFlow Lite Micro's arena", "nothing allocated it; give --device tflm"),
    "max_lsb": Limit("largest difference from the reference, in steps of the output", _REFERENCE),
    "min_argmax": Limit(
        "share of samples on which the file decides as the reference does", _REFERENCE, at_least=True, most=1.0
    ),
    "max_drop": Limit(
        "accuracy lost against the reference", "there are no labels; put an array `labels` into the samples", most=1.0
    ),
    "min_accuracy": Limit(
        "share of labels met", "there are no labels; put an array `labels` into the samples", at_least=True, most=1.0
    ),
}
AGREEMENT_KEYS = frozenset({"max_lsb", "min_argmax", "max_drop", "min_accuracy"})
FILE_KEYS = frozenset({"size_kib", "macs", "peak_memory_kib"})


def read_budget(lines: Sequence[str]) -> dict[str, float]:
    """Return the limits that "key=value" lines set; RecipeError on what is no line of a budget."""
    limits: dict[str, float] = {}
    for line in lines:
        key, equals, text = line.partition("=")
        if not equals:
            raise RecipeError(f"--budget {line!r:.80} is no key=value; write it as --budget size_kib=56")
        try:
            value = float(text)
        except ValueError:
            raise RecipeError(f"--budget {line!r:.80}: {text!r:.40} is no number; write it as {key}=56") from None
        limits |= checked_budget({key.strip(): value}, f"--budget {line!r:.80}")
    return limits


def checked_budget(limits: Mapping[str, float], where: str) -> dict[str, float]:
    """Return limits whose keys and values are allowed; `where` names them in the message."""
    for key, value in limits.items():
        if key not in LIMITS:
            raise RecipeError(f"{where}: no budget {key!r:.60}{_guess(key)}; known: {', '.join(sorted(LIMITS))}")
        if not math.isfinite(value) or value < 0 or value > LIMITS[key].most:
            most = "" if LIMITS[key].most == math.inf else f" to {LIMITS[key].most:g}"
            raise RecipeError(f"{where}: {key} = {value:g}; allowed is a number from 0{most}")
    return dict(limits)


def judge(limits: Mapping[str, float], figures: Mapping[str, Figure]) -> tuple[Line, ...]:
    """Judge each limit by the figure of its key."""
    return tuple(_line(key, limit, figures.get(key)) for key, limit in sorted(limits.items()))


def budget_findings(lines: Sequence[Line]) -> tuple[Finding, ...]:
    """Return a finding for each line that isn't kept."""
    findings = []
    for line in lines:
        if line.outcome == "kept":
            continue
        code, severity = _FINDING[line.outcome]
        findings.append(
            found(code, f"{LIMITS[line.budget].meaning}: {told(line)}", severity=severity, where=line.budget)
        )
    return tuple(findings)


def told(line: Line) -> str:
    """Return a line in words: figure, interval, limit and where the figure comes from."""
    bound = "at least" if LIMITS[line.budget].at_least else "at most"
    if line.value is None:
        return f"limit {bound} {number(line.limit)}: {line.why}"
    interval = ""
    if line.low is not None and line.high is not None and line.low != line.high:
        interval = f" [{number(line.low)}, {number(line.high)}]"
    return f"{number(line.value)}{interval}, limit {bound} {number(line.limit)}: {line.why}"


def number(value: float) -> str:
    """Return a number as people read it: four significant digits, thousands set apart."""
    if not math.isfinite(value) or abs(value) >= MOST_IN_FULL:
        return f"{value:.4g}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 10_000 else f"{value:.4g}"


def _guess(key: str) -> str:
    """Return "; did you mean ...?", by the whole key or by what stands before its unit."""
    by_stem = {known.rsplit("_", 1)[0]: known for known in LIMITS if known.endswith(("_ms", "_kib"))}
    nearest = get_close_matches(key, [*LIMITS, *by_stem], n=1)
    return f"; did you mean {by_stem.get(nearest[0], nearest[0])!r}?" if nearest else ""


_FINDING: Mapping[Outcome, tuple[str, Severity]] = {
    "missed": ("budget-missed", "error"),
    "not_shown": ("budget-not-shown", "warning"),
}


def _line(key: str, limit: float, figure: Figure | None) -> Line:
    if figure is None:
        return Line(key, limit, None, None, None, None, "not_shown", LIMITS[key].missing)
    if figure.missing or figure.value is None or figure.low is None or figure.high is None:
        why = figure.missing or figure.how
        return Line(key, limit, figure.value, figure.low, figure.high, figure.label, "not_shown", why)
    outcome = _outcome(figure.low, figure.high, limit, at_least=LIMITS[key].at_least)
    why = figure.how
    if outcome == "not_shown":
        why = f"{why}; the interval holds the limit"
    return Line(key, limit, figure.value, figure.low, figure.high, figure.label, outcome, why)


def _outcome(low: float, high: float, limit: float, *, at_least: bool) -> Outcome:
    if at_least:
        low, high, limit = -high, -low, -limit
    if high <= limit:
        return "kept"
    return "missed" if low > limit else "not_shown"
