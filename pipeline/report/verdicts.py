"""Verdicts: each line of the budget, kept, missed, or not shown by what is known.

A verdict whose interval holds the limit is not shown, and a figure of one device never judges another. Nor does an
estimate of which nobody published the error judge anything, or one of several threads, which leaves out what it takes to start them.
"""

from collections.abc import Iterator, Mapping

from pipeline.recipe import Budget
from pipeline.report.model import Interval, Label, MeasurementFacts, Outcome, Verdict

KIB = 1024


def verdicts(
    budget: Budget,
    *,
    target: str,
    drops: Mapping[str, Interval],
    files: Mapping[str, int],
    measurements: tuple[MeasurementFacts, ...],
) -> tuple[Verdict, ...]:
    """Judge each budget line for each exported file; `files` are sizes in bytes by row title."""
    return (
        *_drop_verdicts(budget.max_drop, {name: drop for name, drop in drops.items() if name in files}),
        *_size_verdicts(budget.size_kib, files),
        *_latency_verdicts(budget.latency_ms, target, files, measurements),
    )


def _drop_verdicts(limit: float | None, drops: Mapping[str, Interval]) -> Iterator[Verdict]:
    for name, drop in drops.items() if limit is not None else ():
        assert limit is not None
        why = f"paired drop [{drop.low:+.4f}, {drop.high:+.4f}]"
        yield _verdict(f"max_drop, {name}", limit, drop.value, "measured", _outcome(drop.low, drop.high, limit), why)


def _size_verdicts(limit: float | None, files: Mapping[str, int]) -> Iterator[Verdict]:
    for name, size_bytes in files.items() if limit is not None else ():
        assert limit is not None
        size_kib = size_bytes / KIB
        yield _verdict(
            f"size_kib, {name}", limit, size_kib, "exact", _outcome(size_kib, size_kib, limit), "the file's size"
        )


def _latency_verdicts(
    limit: float | None, target: str, files: Mapping[str, int], measurements: tuple[MeasurementFacts, ...]
) -> Iterator[Verdict]:
    for name in files if limit is not None else ():
        assert limit is not None
        found = [m for m in measurements if (m.model, m.device, m.quantity) == (name, target, "latency")]
        figures = [figure for figure in found if figure.valid and (figure.label != "estimated" or figure.threads == 1)]
        if not figures:
            why = f"nothing measured {target}; connect one with --device {target}=SPEC"
            why = f"{found[0].label} on {target}, but invalid: {found[0].why_invalid}" if found else why
            yield Verdict(
                budget=f"latency_ms, {name}", limit=limit, value=None, label=None, outcome="not_shown", why=why
            )
            continue
        best = min(figures, key=lambda figure: figure.value)
        why = f"{best.label} on {best.device}, {best.threads} thread{'s' * (best.threads > 1)}"
        outcome = _outcome(best.low, best.high, limit)
        if best.label == "estimated" and best.low == best.high:
            why, outcome = f"{why}, with an error that nobody published", "not_shown"
        yield _verdict(f"latency_ms, {name}", limit, best.value, best.label, outcome, why)


def _outcome(low: float, high: float, limit: float) -> Outcome:
    if high <= limit:
        return "kept"
    return "missed" if low > limit else "not_shown"


def _verdict(budget: str, limit: float, value: float, label: Label, outcome: Outcome, why: str) -> Verdict:
    return Verdict(budget=budget, limit=limit, value=value, label=label, outcome=outcome, why=why)
