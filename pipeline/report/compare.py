"""What changed between runs, and what it did: the settings that differ, by name, then data and versions, then figures side by side.

Differences of scores and latencies carry intervals by squaring and adding both runs' own (Newcombe, "Interval estimation for the difference
between independent proportions", Statistics in Medicine 17, 1998, method 10): right for independent samples, wide for runs judged on the same
test samples, whose answers no report holds. Sizes are exact.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dotted import dotted
from pipeline.report.model import Interval, MeasurementFacts, Report, ReportRow
from pipeline.report.reading import Run
from pipeline.report.text import Sheet

LETTERS = "ABC"
KIB = 1024
UNSET, UNTOLD = "not set", "not told: the run is of an older version"
OWN = ("seed", "student", "stages", "task", "controls", "measure", "budget", "targets", "name")
"""What a recipe says beside its stages."""
MOST_TEXT = 200


@dataclass(frozen=True)
class Comparison:
    """Runs side by side: what differs, by kind, and what came of it; `effects` say that of the finished files, a sentence each."""

    runs: tuple[Run, ...]
    settings: tuple[tuple[str, ...], ...]
    task: tuple[tuple[str, ...], ...]
    versions: tuple[tuple[str, ...], ...]
    effects: tuple[str, ...]
    sheets: tuple[Sheet, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs, a line each: "distill.temperature: 4.0 -> 2.0"."""
        return tuple(f"{name}: {' -> '.join(values)}" for name, *values in (*self.settings, *self.task, *self.versions))


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare two or three runs, target by target."""
    pairs = list(_by_target(runs))
    reports = [[found[number] for _, found in pairs] for number in range(len(runs))]
    return Comparison(
        runs=tuple(runs),
        settings=_differing([_settings(each) for each in reports]),
        task=_differing([_task(each) for each in reports]),
        versions=_differing([_versions(each) for each in reports]),
        effects=tuple(effect for _, found in pairs for effect in _effects(found)),
        sheets=tuple(sheet for target, found in pairs for sheet in _sheets(target, found)),
    )


def difference(before: Interval, after: Interval) -> Interval:
    """Return after minus before, with its interval."""
    value = after.value - before.value
    low = value - math.hypot(after.value - after.low, before.high - before.value)
    high = value + math.hypot(after.high - after.value, before.value - before.low)
    return Interval(value=value, low=low, high=high)


def signed(value: Interval) -> str:
    """Return a difference with its interval and what it shows."""
    shown = "" if value.low > 0 or value.high < 0 else ": no difference shown"
    return f"{value.shown('+')}{shown}"


def _by_target(runs: Sequence[Run]) -> Iterator[tuple[str, list[Report]]]:
    """Give the reports of each target that all runs have; where they share none, the first of each."""
    named = [{report.target: report for report in run.reports} for run in runs]
    shared = [target for target in named[0] if all(target in each for each in named)]
    for target in shared:
        yield target, [each[target] for each in named]
    if not shared:
        found = [run.reports[0] for run in runs]
        yield ", ".join(dict.fromkeys(report.target for report in found)), found


def _differing(every: Sequence[Mapping[str, str]]) -> tuple[tuple[str, ...], ...]:
    names = dict.fromkeys(name for each in every for name in each)
    rows = [(name, *(each.get(name, UNSET) for each in every)) for name in names]
    return tuple(row for row in rows if len(set(row[1:])) > 1)


def _settings(reports: Sequence[Report]) -> dict[str, str]:
    """Return every setting by its dotted name, as it was used; one that differs between targets also by its target."""
    found: dict[str, str] = {}
    for report in reports:
        made = report.reproduction
        if made is None:
            return {"settings": UNTOLD}
        sections = made.recipe.get("sections") or {}
        plain = {key: made.recipe.get(key) for key in OWN if key in made.recipe}
        unused = {name: section for name, section in sections.items() if name not in made.settings and name != "train"}
        for name, value in flat({**plain, **unused, **made.settings}).items():
            if found.setdefault(name, value) != value:
                found[f"{name} on {report.target}"] = value
    return found


def _task(reports: Sequence[Report]) -> dict[str, str]:
    made = reports[0].reproduction
    return {} if made is None else {f"task's {part}": digest[:12] for part, digest in made.task.items()}


def _versions(reports: Sequence[Report]) -> dict[str, str]:
    made = reports[0].reproduction
    return dict(reports[0].toolchain) | ({} if made is None else {"machine": made.machine})


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings by their dotted names, values as JSON writes them, cut short."""
    return {name: json.dumps(value, ensure_ascii=False)[:MOST_TEXT] for name, value in dotted(settings)}


def _effects(found: Sequence[Report]) -> Iterator[str]:
    """Say of the finished form what each run did to it, against the first."""
    first = found[0]
    before = first.rows[-1]
    for letter, report in zip(LETTERS[1:], found[1:], strict=False):
        after = next((row for row in report.rows if row.stage == before.stage), None)
        if after is None:
            yield f"{report.target}: {letter} has no {before.stage}"
            continue
        lost = signed(difference(before.score, after.score)) if after.digest != before.digest else "the same bytes"
        size = f"{before.size_bytes / KIB:,.1f} to {after.size_bytes / KIB:,.1f} KiB"
        yield (
            f"{report.target}, {before.stage}, A to {letter}: {report.metric.name} {before.score.value:.4f} to "
            f"{after.score.value:.4f}, {lost}; size {size}{''.join(_timing(first, report, before.stage))}"
        )


def _timing(first: Report, second: Report, model: str) -> Iterator[str]:
    alike = ((before, after) for before, after in _timed_alike([first, second]) if before and after)
    pairs = [each for each in alike if each[0].model == model]
    for before, after in sorted(pairs, key=lambda each: each[0].device != second.target)[:1]:
        yield f"; latency on {after.device} {before.value:.3g} to {after.value:.3g} {after.unit} ({_slower(before, after)})"


def _sheets(target: str, found: Sequence[Report]) -> Iterator[Sheet]:
    letters = LETTERS[: len(found)]
    steps = tuple(f"{letter} - A [95 %]" for letter in letters[1:])
    name = found[0].metric.name
    rows = [_same_stage(stage, found) for stage in _stages(found)]
    yield Sheet(f"{target}: {name}", ("form", *letters, *steps), tuple(_score_row(each) for each in rows))
    smaller = tuple(f"{letter} - A" for letter in letters[1:])
    yield Sheet(f"{target}: size, KiB", ("form", *letters, *smaller), tuple(_size_row(each) for each in rows))
    timed = tuple(_time_row(each) for each in _timed_alike(found))
    if timed:
        yield Sheet(f"{target}: latency", ("file", "device, threads", *letters, *steps), timed)
    lines = dict.fromkeys(verdict.budget for report in found for verdict in report.verdicts)
    if lines:
        yield Sheet(f"{target}: budget", ("line", *letters), tuple(_verdict_row(line, found) for line in lines))


def _stages(found: Sequence[Report]) -> list[str]:
    return list(dict.fromkeys(row.stage for report in found for row in (*report.rows, *report.controls)))


def _same_stage(stage: str, found: Sequence[Report]) -> tuple[str, list[ReportRow | None]]:
    named = [{row.stage: row for row in (*report.rows, *report.controls)} for report in found]
    return stage, [each.get(stage) for each in named]


def _score_row(same: tuple[str, Sequence[ReportRow | None]]) -> tuple[str, ...]:
    stage, rows = same
    values = ("" if row is None else row.score.shown() for row in rows)
    return (stage, *values, *(_apart(rows[0], row) for row in rows[1:]))


def _apart(before: ReportRow | None, after: ReportRow | None) -> str:
    if before is None or after is None:
        return ""
    return "the same bytes" if before.digest == after.digest else signed(difference(before.score, after.score))


def _size_row(same: tuple[str, Sequence[ReportRow | None]]) -> tuple[str, ...]:
    stage, rows = same
    sizes = [None if row is None else row.size_bytes / KIB for row in rows]
    first = sizes[0]
    steps = ("" if first is None or size is None else f"{size - first:+,.1f}" for size in sizes[1:])
    return (stage, *("" if size is None else f"{size:,.1f}" for size in sizes), *steps)


def _timed_alike(found: Sequence[Report]) -> list[list[MeasurementFacts | None]]:
    """Return the latencies of each file, device and number of threads, one a run; None where a run has none."""
    named: list[dict[tuple[str, str, int], MeasurementFacts]] = [
        {(each.model, each.device, each.threads): each for each in report.measurements if each.quantity == "latency"}
        for report in found
    ]
    keys = dict.fromkeys(key for each in named for key in each)
    return [[each.get(key) for each in named] for key in keys]


def _time_row(timed: Sequence[MeasurementFacts | None]) -> tuple[str, ...]:
    any_one = next(each for each in timed if each is not None)
    values = (
        "" if each is None else f"{each.value:.3g} [{each.low:.3g}, {each.high:.3g}] {each.unit}" for each in timed
    )
    steps = ("" if timed[0] is None or each is None else _slower(timed[0], each) for each in timed[1:])
    return (any_one.model, f"{any_one.device}, {any_one.threads}, {any_one.label}", *values, *steps)


def _slower(before: MeasurementFacts, after: MeasurementFacts) -> str:
    """Say how much longer one inference takes; nothing of what can't be compared."""
    if not before.valid or not after.valid:
        return "not comparable: invalid"
    for what in ("machine", "runtime", "label", "unit"):
        if getattr(before, what) != getattr(after, what):
            return f"not comparable: another {what}"
    if after.label == "estimated" and (before.low == before.high or after.low == after.high):
        return f"{after.value - before.value:+.4f}, with an error that nobody published"
    one, other = (Interval(value=each.value, low=each.low, high=each.high) for each in (before, after))
    return signed(difference(one, other))


def _verdict_row(line: str, found: Sequence[Report]) -> tuple[str, ...]:
    named = [{verdict.budget: verdict for verdict in report.verdicts} for report in found]
    cells = (
        "" if (verdict := each.get(line)) is None else f"{verdict.outcome.replace('_', ' ')} (limit {verdict.limit:g})"
        for each in named
    )
    return (line, *cells)
