"""What a run leaves for one target, written by the product's own `deliver` from small files, in a second and without training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.deliver import deliver
from pipeline.plan import Plan, Row, Step
from pipeline.recipe import DEFAULT_STAGES, recipe_from
from pipeline.report.made import Made, size_bytes
from pipeline.report.model import Interval, MeasurementFacts, MetricFacts, Report, ReportRow, Verdict
from pipeline.report.reproduction import reproduction
from pipeline.run import Done
from pipeline.stage import StageConfig, discover
from pipeline.store import Record
from pipeline.task_file import wrap_task
from tests.small_files import write_onnx, write_tflite
from tests.small_task import Bars

TARGET, MADE_AT = "raspberry-pi-4", "2026-01-01T00:00:00+00:00"
TOOLCHAIN = {"edgepress": "0.1.0", "onnx": "1.23.2"}
ROWS = {"teach:wide": "teacher wide", "export_onnx": "int8 onnx", "export_tflite": "int8 tflite"}


@dataclass
class Told(Bars):
    """Bars that say where they come from, and send a file along."""

    provenance: dict[str, str]

    def __post_init__(self) -> None:
        super().__init__()

    labels = ("top", "upper", "lower", "bottom")
    preprocessing = {"range": "0 to 1 | grey"}  # noqa: RUF012 - as a user writes it

    def files(self) -> dict[str, str]:
        return {"front_end.txt": "subtract the mean\n"}


def write_run(folder: Path, provenance: dict[str, str] | None = None, *, name: str = "bars") -> Path:
    """Deliver a run's files into `folder`/out/TARGET and return that folder."""
    task = wrap_task(Told(provenance or {}))
    content: dict[str, Any] = {"schema": 1, "name": name, "task": "task.py:task", "targets": [TARGET]}
    content |= {"budget": {"size_kib": 56}, "distill": {"losses": {"soft_targets": 1.0}}}
    recipe = recipe_from(content, folder=folder, where="here", stages=[*DEFAULT_STAGES])
    done = {step: _done(step, folder / "objects") for step in ROWS}
    rows = tuple(Row(title, step, step) for step, title in ROWS.items())
    plan = Plan(steps=(), rows=rows, program="", files=("export_onnx", "export_tflite"))
    made = Made(recipe=recipe, plan=plan, task=task, done=done)
    report = _report(name, {ROWS[step]: each.artifact for step, each in done.items()})
    deliver(report.model_copy(update={"reproduction": reproduction(made)}), made, folder / "out" / TARGET)
    return folder / "out" / TARGET


def _done(step: str, objects: Path) -> Done:
    folder = objects / step.replace(":", "-")
    folder.mkdir(parents=True)
    stage = discover()[step.partition(":")[0]]
    if stage.gives == "onnx":
        write_onnx(folder / "model.onnx")
    elif stage.gives == "tflite":
        write_tflite(folder / "model.tflite")
    else:
        (folder / "weights.safetensors").write_bytes(b"weights")
    write_manifest(folder, stage.gives, {"parameters": 100, "macs": 1000})
    record = Record(key="0" * 64, digest="", parts={}, seconds=1.0, circumstances={})
    return Done(Step(step, stage, StageConfig(), {}), open_artifact(folder), record, cached=False)


def _report(name: str, artifacts: dict[str, Artifact]) -> Report:
    score = Interval(value=0.975, low=0.95, high=0.9875)
    return Report(
        recipe=name,
        target=TARGET,
        made_at=MADE_AT,
        toolchain=TOOLCHAIN,
        metric=MetricFacts(name="accuracy", higher_is_better=True),
        test_samples=40,
        rows=tuple(_row(title, artifact, score) for title, artifact in artifacts.items()),
        controls=(),
        reference="teacher wide",
        drop={"int8 onnx": Interval(value=0.001, low=-0.01, high=0.01)},
        gains=(),
        fidelity=None,
        measurements=(_latency("int8 onnx"),),
        verdicts=(Verdict(budget="size_kib, int8 onnx", limit=56, value=1.5, label="exact", outcome="kept", why="the file's size"),),
    )  # fmt: skip


def _row(title: str, artifact: Artifact, score: Interval) -> ReportRow:
    size = size_bytes(artifact)
    return ReportRow(stage=title, score=score, parameters=100, macs=1000, size_bytes=size, seconds=1, cached=False, digest=artifact.digest)  # fmt: skip


def _latency(model: str) -> MeasurementFacts:
    return MeasurementFacts(
        model=model,
        device="host",
        machine="a test's",
        runtime="onnxruntime 1.31.1",
        threads=1,
        quantity="latency",
        unit="ms",
        label="measured",
        value=0.12,
        p90=0.2,
        p99=None,
        low=0.11,
        high=0.13,
        samples=100,
        processes=5,
        drift=0.0,
        valid=True,
        why_invalid=None,
        how="in fresh processes",
        made_at=MADE_AT,
    )
