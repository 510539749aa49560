"""Check: judge every file of an order, for each of its targets, and put all that is known of it into one report.

A model that can't be read ends the run; one that a device refuses is a finding. The baseline is written last and whole.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from devices import Measurement
from pipeline.bench import Observations
from pipeline.checks.finding import Finding
from pipeline.checks.judgement import judge_file
from pipeline.errors import RecipeError, RefusedError
from pipeline.gate import agreement as agreements
from pipeline.gate import measured
from pipeline.gate.baseline import Baseline, Entry, entry_of, name_of, read_baseline, write_baseline
from pipeline.gate.budget import Figure, budget_findings, judge
from pipeline.gate.changes import compare
from pipeline.gate.codes import found
from pipeline.gate.samples import Samples, read_samples
from pipeline.gate.settings import Job, Order
from pipeline.gate.verdict import Agreement, Check, Report, worst_first
from pipeline.gate.waivers import apply, read_waivers
from pipeline.places import place_of
from targets import Target, load_target

KIB = 1024
OpenStore = Callable[[], Observations]
"""Where measurements are kept; opened by the first device that measures, so that a check alone writes nothing."""


@dataclass(frozen=True)
class Clock:
    """What time it is, for waivers that end and measurements that are made; nothing else here knows it."""

    today: date
    now: str


def check(order: Order, store: OpenStore, clock: Clock) -> Report:
    """Judge what an order names, and write its baseline where it asks for that."""
    waivers = read_waivers(order.waivers) if order.waivers else None
    baseline = _baseline(order)
    targets = {name: load_target(name) for job in order.jobs for name in job.targets}
    means = _Means(store, clock, tuple(dict.fromkeys(target.name for target in targets.values())))
    judged = [each for job in order.jobs for each in _job(job, targets, means)]
    entries: dict[str, Entry] = {}
    if order.baseline is not None:
        entries = _entries(judged, order.baseline.parent)
        judged = [_compared(each, entries, baseline, order) for each in judged]
    report = Report(tuple(each.check for each in judged), strict=order.strict, baseline_file=shown(order.baseline))
    report = apply(waivers, report, today=clock.today) if waivers else report
    if order.update_baseline and order.baseline is not None:
        return replace(report, baseline_written=write_baseline(order.baseline, baseline, entries))
    return report


def shown(path: Path | None) -> str:
    """Return a path as reports name it: from the working folder, with slashes; "" for none."""
    if path is None:
        return ""
    try:
        return Path(os.path.relpath(path)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


@dataclass(frozen=True)
class _Means:
    """What a measurement needs, and all targets of the run: a board is one of them."""

    store: OpenStore
    clock: Clock
    targets: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """A check and the file that it is about."""

    path: Path
    check: Check


def _baseline(order: Order) -> Baseline | None:
    if order.baseline is None:
        if order.update_baseline:
            raise RecipeError(
                "--update-baseline needs to know which file; name it with --baseline, or in edgepress.toml"
            )
        return None
    return None if order.update_baseline and not order.baseline.exists() else read_baseline(order.baseline)


def _job(job: Job, known: Mapping[str, Target], means: _Means) -> Iterator[_Judged]:
    if (job.reference is None) != (job.samples is None):
        raise RecipeError("--reference and --samples belong together; give both, or neither")
    samples = read_samples(job.samples) if job.samples else None
    targets: list[Target | None] = [known[name] for name in job.targets] or [None]
    for model in job.models:
        agreed = _agreed(model, job.reference, samples) if job.reference and samples else None
        for target in targets:
            yield _Judged(model, _one(model, target, job, agreed, means))


def _one(model: Path, target: Target | None, job: Job, agreed: Agreement | Finding | None, means: _Means) -> Check:
    judgement = judge_file(model, target, job.promises)
    findings = list(judgement.findings)
    figures = _of_file(judgement.facts)
    limits = dict(job.budget)
    spec = place_of(job.places, target.name if target else None, means.targets)
    measurements = _measured(model, target, spec, means)
    if isinstance(measurements, Finding):
        findings.append(measurements)
        measurements = ()
    figures |= measured.figures(measurements, target)
    if isinstance(agreed, Finding):
        findings.append(agreed)
    elif agreed is not None:
        limits = agreements.defaults(agreed, limits)
        figures |= agreements.figures(agreed)
        findings += agreements.agreement_findings(agreed, limits)
    lines = judge(limits, figures)
    return Check(
        model=shown(model),
        format=judgement.format,
        sha256=judgement.sha256,
        target=target.name if target else None,
        findings=worst_first((*findings, *budget_findings(lines))),
        budget=lines,
        agreement=agreed if isinstance(agreed, Agreement) else None,
        measurements=measurements,
        facts=judgement.facts,
    )


def _of_file(facts: Mapping[str, Any]) -> dict[str, Figure]:
    """Return what the file itself says to a budget."""
    found_ = {"size_kib": (facts["size_bytes"] / KIB, "exact", "read from the file")}
    if facts.get("macs") is not None:
        found_["macs"] = (facts["macs"], "exact", "counted in the file")
    if facts.get("peak_activation_bytes") is not None:
        found_["peak_memory_kib"] = (
            facts["peak_activation_bytes"] / KIB,
            "estimated",
            "computed from lifetimes in the file's order",
        )
    return {key: Figure(value, value, value, label, how) for key, (value, label, how) in found_.items()}


def _measured(model: Path, target: Target | None, spec: str | None, means: _Means) -> tuple[Measurement, ...] | Finding:
    """Return what a device measured, nothing without a device, or the finding that it refuses the file."""
    if spec is None:
        return ()
    try:
        return measured.measure(model, spec, target, means.store(), made_at=means.clock.now)
    except RefusedError as error:
        return found("device-refuses", str(error), severity="error", where=spec)


def _agreed(model: Path, reference: Path, samples: Samples) -> Agreement | Finding:
    try:
        return agreements.agree(model, reference, samples, reference_name=shown(reference))
    except agreements.MismatchError as error:
        return found("reference-mismatch", str(error), severity="error", where="outputs")


def _entries(judged: Sequence[_Judged], folder: Path) -> dict[str, Entry]:
    """Return each model's entry by its path from the baseline's folder; one file has the measurements of all targets."""
    entries: dict[str, Entry] = {}
    for each in judged:
        name = _name(each.path, folder)
        entry = entry_of(each.check)
        if name in entries:
            entry = entry.model_copy(update={"measurements": {**entries[name].measurements, **entry.measurements}})
        entries[name] = entry
    return entries


def _name(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _compared(judged: _Judged, entries: Mapping[str, Entry], baseline: Baseline | None, order: Order) -> _Judged:
    """Return a check with what changed since the baseline; an update accepts it, so that nothing of it is a finding."""
    assert order.baseline is not None
    name = _name(judged.path, order.baseline.parent)
    if baseline is None or name not in baseline.models:
        message = f"{shown(order.baseline)} has no model {name!r}"
        findings = (
            () if order.update_baseline else (found("baseline-missing", message, severity="warning", where=name),)
        )
        return replace(judged, check=_with(judged.check, findings))
    differences = compare(baseline.models[name], _own(judged.check, entries[name]), baseline)
    changed = replace(judged.check, changes=tuple(each.change for each in differences))
    worse = () if order.update_baseline else tuple(each.finding for each in differences if each.finding)
    return replace(judged, check=_with(changed, worse))


def _own(check: Check, entry: Entry) -> Entry:
    """Return an entry with the measurements of this check's target alone."""
    names = {name_of(each, check.target) for each in check.measurements}
    return entry.model_copy(
        update={"measurements": {name: entry.measurements[name] for name in names if name in entry.measurements}}
    )


def _with(check: Check, findings: Sequence[Finding]) -> Check:
    return replace(check, findings=worst_first((*check.findings, *findings)))
