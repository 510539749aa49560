"""audit: say whether the teachers are worth learning from, before a student spends hours on it.

Each teacher is judged on the validation split: its score, its calibration, the order of its classes, how it would do on data
prepared otherwise. Then a probe trains the student for some hundred steps, alone and taught, and compares both, paired over the samples.
The probe's student isn't finished: what it gains at the start may be gone at the end, and what it loses may be made up for, so that
a probe can show a gain and never harm.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from pipeline.architecture import load_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import Evaluation, predict, steps_an_epoch
from pipeline.distillation.audit import verdict
from pipeline.distillation.judged import agreements, calibration, findings, size_against
from pipeline.distillation.supervision import TAKES, VALIDATION, supervise
from pipeline.recorded_outputs import read_answers
from pipeline.resampled import bounds, resampled_scores
from pipeline.stage import Context, Stage
from pipeline.stages.distill import DistillConfig
from pipeline.training import train


class AuditConfig(DistillConfig):
    """`probe_steps` are those that each student of the probe takes, in whole epochs; `on_weak` is what a run does with a teacher that isn't worth it.

    300: on 90 to 3,000 digits fewer steps called good teachers useless, since a taught student starts more slowly.
    """

    not_in_key: ClassVar[frozenset[str]] = DistillConfig.not_in_key | {"on_weak"}

    epochs: int = Field(default=1, ge=1)
    probe_steps: int = Field(default=300, ge=1)
    on_weak: Literal["stop", "warn", "skip"] = "stop"


def run(inputs: Mapping[str, Artifact], config: AuditConfig, context: Context) -> Facts:
    """Give the verdict, and what it rests on."""
    task, targets = context.task, context.task.targets("validation")
    assert targets is not None
    sign = 1.0 if task.metric.higher_is_better else -1.0
    epochs = max(1, round(config.probe_steps / steps_an_epoch(task, config.batch_size)))
    config = config.model_copy(update={"epochs": epochs})
    alone = _probe({}, config, context, "alone")
    said = {
        name.partition(":")[2]: read_answers(artifact)
        for name, artifact in sorted(inputs.items())
        if name.startswith(f"{VALIDATION}:")
    }
    scores = {name: resampled_scores(task.score, answers, targets) for name, answers in said.items()}
    teachers = {
        name: {
            "score": bounds(scores[name]),
            **size_against(inputs[f"model:{name}"], alone, task),
            **calibration(answers, targets),
            "findings": [asdict(finding) for finding in findings(name, inputs[f"model:{name}"], answers, task)],
        }
        for name, answers in said.items()
    }
    by_itself, taught = (
        resampled_scores(task.score, predict(network, task, "validation"), targets)
        for network in (alone, _probe(inputs, config, context, "taught"))
    )
    ahead = max((bounds(sign * (score - by_itself)) for score in scores.values()), key=lambda found: found["value"])
    gain = bounds(sign * (taught - by_itself))
    broken = any(finding["broken"] for teacher in teachers.values() for finding in _listed(teacher))
    return {
        "teachers": teachers,
        "agreement": agreements(said, targets),
        "probe": {"epochs": epochs, "alone": bounds(by_itself), "taught": bounds(taught), "gain": gain},
        "ahead": ahead,
        "verdict": verdict(broken=broken, ahead=ahead, gain=gain),
    }


def _listed(teacher: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = teacher["findings"]
    return found


def _probe(inputs: Mapping[str, Artifact], config: AuditConfig, context: Context, name: str) -> nn.Module:
    """Train a fresh student for the probe's epochs, by labels alone or taught as the recipe says."""
    student = context.task.student()
    with supervise(student, inputs, config, context=context, views=config.views, load=load_network) as supervision:
        train(
            student,
            supervision.loss,
            config,
            task=context.task,
            seed=context.seed,
            scratch=context.scratch / name,
            progress=context.progress,
            evaluate=lambda _: Evaluation(
                0.0, 0.0
            ),  # the last weights are as good as any, and judging costs more than learning
            extra=supervision.extra,
            stage=f"audit, {name}",
        )
    return student


STAGE = Stage(
    name="audit",
    version=2,
    config=AuditConfig,
    takes=("model*", *TAKES),
    gives="audit",
    reads=(
        *("data.train", "data.validation", "student", "teachers", "loss", "score", "augment", "collate"),
        *("labels", "preprocessing"),
    ),
    libraries=("torch", "lightning-fabric", "torchmetrics", "scipy"),
    run=run,
)
