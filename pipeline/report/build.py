"""Build a report from what a run made: rows with intervals, the paired drop, the gate, measurements, verdicts.

The test split is read here and nowhere else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from pipeline.checks.layers import Activation
from pipeline.checks.lints import Promises
from pipeline.checks.operators import operators_in_float
from pipeline.fidelity import Forms, judge
from pipeline.fidelity import Verdict as Gate
from pipeline.plan import Row
from pipeline.report.confusion import confusion
from pipeline.report.fits import fits
from pipeline.report.gains import Measured, facts_of, gains
from pipeline.report.inside import inside
from pipeline.report.intervals import interval, paired_drop
from pipeline.report.ledger import ledger
from pipeline.report.made import Made, size_bytes
from pipeline.report.mistakes import mistakes
from pipeline.report.model import (
    Agreement,
    Fidelity,
    FileFidelity,
    Interval,
    LayerTimes,
    MetricFacts,
    Report,
    ReportRow,
)
from pipeline.report.reproduction import reproduction
from pipeline.report.verdicts import verdicts
from pipeline.traces import forgotten


@forgotten()
def build(
    made: Made,
    *,
    target: str,
    made_at: str,
    toolchain: Mapping[str, str],
    measured: tuple[Measured, ...],
    times: tuple[LayerTimes, ...] = (),
) -> Report:
    """Return the report of one target; `times` are what the layers of its files take, where a device tells."""
    task = made.task
    drops, verdict = _drops(made), _gate(made)
    measurements = tuple(facts_of(each) for each in measured)
    return Report(
        recipe=made.recipe.name,
        target=target,
        made_at=made_at,
        toolchain=dict(toolchain),
        metric=MetricFacts(name=task.metric.name, higher_is_better=task.metric.higher_is_better),
        test_samples=len(task.splits.test),
        rows=tuple(_row(made, row) for row in made.plan.rows if not row.control),
        controls=tuple(_row(made, row) for row in made.plan.rows if row.control),
        reference=made.reference.title,
        drop=drops,
        gains=gains(made, measured),
        fidelity=None if verdict is None else _fidelity(verdict),
        **_decided(made),
        ledger=ledger(made, measurements),
        measurements=measurements,
        verdicts=verdicts(
            made.recipe.budget, target=target, drops=drops, files=_sizes(made), measurements=measurements
        ),
        layers=inside(made, {} if verdict is None else verdict.layers, times),
        fits=tuple(fits(made)),
        confusion=confusion(made),
        mistakes=mistakes(made),
        reproduction=reproduction(made),
    )


def _decided(made: Made) -> dict[str, Any]:
    """Return what steps of the run found out and decided, each by its field of the report."""
    return {
        "audit": dict(made.done["audit"].artifact.facts) if "audit" in made.done else None,
        "scheme": _of_kind(made, "scheme"),
        "sensitivity": _of_kind(made, "sensitivity"),
        "cuts": tuple(_cuts(made)),
        "choice": dict(made.done["choose"].artifact.facts) if "choose" in made.done else None,
        "quantised": _quantised(made),
    }


def _cuts(made: Made) -> Iterator[dict[str, Any]]:
    """Give of each step that pruned by cost what became cheaper, and by how much MACs alone would have it."""
    for name, done in made.done.items():
        facts = done.artifact.facts
        if done.step.stage.name == "prune" and "costs" in facts:
            told = {key: facts[key] for key in ("macs_before", "macs", "cost_before", "cost")}
            yield {"step": name, **told, **facts["costs"]}


def _quantised(made: Made) -> dict[str, int]:
    """Return the float operators of the recipe's files and of their baselines, by row; none where it has no baselines."""
    rows = [row for row in made.plan.rows if row.model in (*made.plan.files, *made.plan.baselines)]
    paths = {row.title: made.done[row.model].artifact for row in rows if made.plan.baselines}
    return {
        title: len(operators_in_float(artifact.file(f"model.{artifact.kind}"))) for title, artifact in paths.items()
    }


def _of_kind(made: Made, kind: str) -> dict[str, Any] | None:
    """Return what a step of this kind found, where there was one."""
    return next((dict(done.artifact.facts) for done in made.done.values() if done.artifact.kind == kind), None)


def _row(made: Made, row: Row) -> ReportRow:
    done = made.done[row.model]
    facts = done.artifact.facts
    return ReportRow(
        stage=row.title,
        score=interval(made.scores[row.title], samples=len(made.task.splits.test)),
        parameters=facts.get("parameters"),
        macs=facts.get("macs"),
        size_bytes=size_bytes(done.artifact),
        seconds=done.record.seconds,
        cached=done.cached,
        digest=done.artifact.digest,
    )


def _drops(made: Made) -> dict[str, Interval]:
    reference = made.scores[made.reference.title]
    higher, samples = made.task.metric.higher_is_better, len(made.task.splits.test)
    return {
        row.title: paired_drop(reference, made.scores[row.title], higher_is_better=higher, samples=samples)
        for row in made.plan.rows
        if row.model in made.plan.files or row.control
    }


def _gate(made: Made) -> Gate | None:
    rows = {made.done[row.model].artifact.kind: row for row in made.file_rows()}
    if not rows:
        return None
    program = next(row for row in made.plan.rows if row.model == made.plan.program)
    forms = Forms(
        program=made.done[program.answers].artifact,
        answers={kind: made.done[row.answers].artifact for kind, row in rows.items()},
        files={kind: made.done[row.model].artifact for kind, row in rows.items()},
        promises={kind: _promises(made, row) for kind, row in rows.items()},
        observe=lambda inputs: _observed(made, inputs),
        quantised=_is_static(made),
    )
    return judge(forms, made.task, targets=made.targets)


def _is_static(made: Made) -> bool:
    """Whether the finished network's activations are int8."""
    program = made.done[made.plan.program].artifact
    return program.kind == "quantized" and program.facts["scheme"] == "static_int8"


def _observed(made: Made, inputs: Sequence[Tensor]) -> list[Activation]:
    from pipeline.quantization.observed import activations_of  # noqa: PLC0415 - torchao, which a gate that passes never needs
    from pipeline.quantization.source import program_of  # noqa: PLC0415 - with it

    program, _, _ = program_of(made.done[made.plan.program].artifact, made.task)
    return activations_of(program, inputs)


def _promises(made: Made, row: Row) -> Promises:
    """What a file was made to be: its export's settings, and which layers the quantiser left in float; of another tool's, that some of it is int8."""
    step = made.plan.step(row.model)
    if step.stage.name.startswith("ptq_"):
        return Promises(int8="some")
    settings = step.config.model_dump()
    static, facts = _is_static(made), made.done[made.plan.program].artifact.facts
    return Promises(
        int8="none" if not static else "some" if facts["float_layers"] else "all",
        input_type=settings["input_type"] if static else "float32",
        output_type=settings["output_type"] if static else "float32",
        dynamic_batch=settings["dynamic_batch"],
    )


def _fidelity(verdict: Gate) -> Fidelity:
    return Fidelity(
        passed=not verdict.why_failed,
        why_failed=verdict.why_failed,
        scales_equal=verdict.scales_equal,
        first_divergence=verdict.first_divergence,
        program_score=verdict.program_score,
        onnx=_file(verdict, "onnx"),
        tflite=_file(verdict, "tflite"),
        torch_onnx=_agreement(verdict, "torch", "onnx"),
        torch_tflite=_agreement(verdict, "torch", "tflite"),
        onnx_tflite=_agreement(verdict, "onnx", "tflite"),
    )


def _agreement(verdict: Gate, one: str, other: str) -> Agreement | None:
    found = verdict.pairs.get((one, other))
    return None if found is None else Agreement(**asdict(found))


def _file(verdict: Gate, kind: str) -> FileFidelity | None:
    if kind not in verdict.files:
        return None
    file = verdict.files[kind]
    findings = tuple(f"{found.severity} {found.code}: {found.message}" for found in file.findings)
    return FileFidelity(
        score=file.score,
        float_ops=file.float_ops,
        argmax_agreement=verdict.pairs["torch", kind].argmax_agreement,
        findings=findings,
    )


def _sizes(made: Made) -> dict[str, int]:
    return {row.title: size_bytes(made.done[row.model].artifact) for row in made.file_rows()}
