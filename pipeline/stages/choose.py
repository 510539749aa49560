"""choose: a student for a target and a budget, out of the built-in families.

Of each family the largest rung that keeps the budget is found by halving: it is quantised untrained, written as a file, and judged by the
target's own figures (Vela's estimate, counts on the emulated core, or this machine's time where neither is there). Those few are trained
for some hundred steps by the labels alone; the best on the validation split is taken, of several that can't be told apart the cheapest.

The budget is that of the student itself: a recipe that prunes afterwards ends below it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import nn

from devices import Request
from pipeline.architecture import macs_of, parameters_of
from pipeline.artifact import Artifact, Facts
from pipeline.batches import Evaluation, first_inputs, predict, split_batches, steps_an_epoch
from pipeline.distillation.supervision import supervise
from pipeline.errors import TaskError, TrainingError
from pipeline.networks.families import Sizes, build, ladders, sizes_of
from pipeline.networks.ladders import Rung, read_rung
from pipeline.quantization.form import FileForm
from pipeline.quantization.source import metadata_of
from pipeline.reproducible import seeded
from pipeline.resampled import bounds, resampled_scores
from pipeline.stage import Context, Progress, Stage
from pipeline.stages.distill import DistillConfig
from pipeline.stages.trial_files import TrialConfig, write_untrained
from pipeline.task import SPLITS, as_arguments
from pipeline.training import train

CALIBRATION_SAMPLES = 64
KIB = 1024
SHORT = Request(warmup_seconds=0.2, min_seconds=0.3)


class ChooseConfig(DistillConfig, TrialConfig):
    """The budget, and how the probe trains; a `rung` ("dscnn-32-4") is taken as it is."""

    not_in_key: ClassVar[frozenset[str]] = DistillConfig.not_in_key

    epochs: int = Field(default=1, ge=1)
    probe_steps: int = Field(default=300, ge=1)
    rung: str = ""
    latency_ms: float | None = None
    size_kib: float | None = None


@dataclass(frozen=True)
class Looked:
    """A rung that was looked at: what it costs, and which budget line it breaks, if any; `score` after the probe.

    `latency_high_ms` is the upper end of what is known of the latency; by that it is judged, as the report's verdicts are.
    """

    rung: Rung
    macs: int
    parameters: int
    size_kib: float
    latency_ms: float | None
    latency_high_ms: float | None
    quantity: str
    label: str
    breaks: str
    score: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return it as a stage's facts."""
        return {**asdict(self), **self.rung.facts()}


def run(inputs: Mapping[str, Artifact], config: ChooseConfig, context: Context) -> Facts:
    """Give the choice, why, and every rung that was looked at."""
    assert not inputs
    if config.rung:
        rung = read_rung(config.rung)
        return {
            **rung.facts(),
            "sizes": asdict(_sizes(context)),
            "why": f"{rung}, as the recipe names it",
            "looked": [],
        }
    if not all(context.task.is_labelled(split) for split in ("train", "validation")):
        raise TaskError(
            f"student = 'auto' compares students on labels; task {context.task.name!r} has none on training or validation: leave student out"
        )
    sizes = _sizes(context)
    every = list(ladders(sizes))
    looked: list[Looked] = []
    finalists: list[Looked] = []
    for number, ladder in enumerate(every):
        found = _largest(ladder, sizes, config, context, looked)
        finalists += [found] if found else []
        context.progress(Progress(number + 1, 2 * len(every), {}))
    if not finalists:
        raise TrainingError(_wall(looked, config))
    chosen, scored = _best(finalists, sizes, config, context)
    context.progress(Progress(1, 1, {}))
    others = [each for each in looked if each.rung not in {final.rung for final in scored}]
    return {
        **chosen.rung.facts(),
        "sizes": asdict(sizes),
        "why": _why(chosen, scored),
        "looked": [each.facts() for each in (*scored, *others)],
    }


def _sizes(context: Context) -> Sizes:
    """Return what the task's data and its own student's outputs ask for."""
    task = context.task
    example = task.example()
    outputs = as_arguments(task.student().eval()(*example))[0].shape[-1]
    largest = 0
    if not example[0].is_floating_point():
        # Of every split, as a tokenizer has them all: the test split's ids make room for themselves and choose nothing.
        batches = chain.from_iterable(split_batches(task, split) for split in SPLITS)
        largest = max(int(batch.inputs[0].max()) for batch in batches)
    return sizes_of(example, int(outputs), largest + 1)


def _largest(
    ladder: Sequence[Rung], sizes: Sizes, config: ChooseConfig, context: Context, looked: list[Looked]
) -> Looked | None:
    """Return the last rung that keeps the budget; costs rise from rung to rung, so halving finds it."""
    low, high, best = 0, len(ladder) - 1, None
    while low <= high:
        middle = (low + high) // 2
        found = _look(ladder[middle], sizes, config, context)
        looked.append(found)
        if found.breaks:
            high = middle - 1
        else:
            low, best = middle + 1, found
    return best


def _look(rung: Rung, sizes: Sizes, config: ChooseConfig, context: Context) -> Looked:
    """Write a rung, untrained, as an int8 file, and ask the target's device what it costs."""
    task = context.task
    network = _built(rung, sizes, context)
    path = context.scratch / f"{rung.family}-{rung.width}-{rung.depth}.tflite"
    batches = first_inputs(task, "train", CALIBRATION_SAMPLES)
    form = FileForm(**config.tflite.model_dump(), metadata=metadata_of(task))
    write_untrained(network, task.example(), batches, path, rules=config.rules, form=form, seed=context.seed)
    told = {each.quantity: each for each in config.open_device().measure([path], SHORT)[0]}
    latency = told.get("latency")
    found = Looked(
        rung=rung,
        macs=macs_of(network, task.example()),
        parameters=parameters_of(network),
        size_kib=path.stat().st_size / KIB,
        latency_ms=None if latency is None else latency.value / 1000,
        latency_high_ms=None if latency is None else latency.high / 1000,
        quantity="latency" if latency else next(iter(told)),
        label=latency.label if latency else "not known",
        breaks="",
    )
    return replace(found, breaks=_broken(found, config))


def _broken(found: Looked, config: ChooseConfig) -> str:
    if config.size_kib is not None and found.size_kib > config.size_kib:
        return f"size_kib = {config.size_kib:g}: {found.size_kib:.1f}"
    if (
        config.latency_ms is not None
        and found.latency_high_ms is not None
        and found.latency_high_ms > config.latency_ms
    ):
        return f"latency_ms = {config.latency_ms:g}: up to {found.latency_high_ms:.3f}"
    return ""


def _wall(looked: Sequence[Looked], config: ChooseConfig) -> str:
    """Say which budget line nothing keeps, and how near the nearest comes."""
    nearest = min(looked, key=lambda found: (found.size_kib, found.latency_ms or 0))
    return (
        f"student = 'auto': none of the families' smallest networks keeps the budget; the nearest, {nearest.rung}, breaks {nearest.breaks} "
        f"({nearest.label} on {config.device}); raise it, or give a student of your own"
    )


def _best(
    finalists: Sequence[Looked], sizes: Sizes, config: ChooseConfig, context: Context
) -> tuple[Looked, list[Looked]]:
    """Return the best of the finalists in a short training, and all of them with their scores."""
    task, targets = context.task, context.task.targets("validation")
    assert targets is not None
    sign = 1.0 if task.metric.higher_is_better else -1.0
    resampled: list[np.ndarray] = []
    for found in finalists:
        network = _probed(found.rung, sizes, config, context)
        resampled.append(sign * resampled_scores(task.score, predict(network, task, "validation"), targets))
    scored = [
        replace(found, score=sign * bounds(scores)["value"]) for found, scores in zip(finalists, resampled, strict=True)
    ]
    best = max(range(len(scored)), key=lambda number: bounds(resampled[number])["value"])
    alike = [
        found for found, scores in zip(scored, resampled, strict=True) if bounds(resampled[best] - scores)["low"] <= 0
    ]
    return min(alike, key=lambda found: (found.latency_ms or 0, found.macs)), scored


def _probed(rung: Rung, sizes: Sizes, config: ChooseConfig, context: Context) -> nn.Module:
    task, student = context.task, _built(rung, sizes, context)
    epochs = max(1, round(config.probe_steps / steps_an_epoch(task, config.batch_size)))
    with supervise(student, {}, config, context=context, views=config.views, load=_no_teacher) as supervision:
        train(
            student,
            supervision.loss,
            config.model_copy(update={"epochs": epochs, "patience": 0}),
            task=task,
            seed=context.seed,
            scratch=context.scratch / f"probe-{rung.family}",
            progress=context.progress,
            evaluate=lambda _: Evaluation(0.0, 0.0),  # the last weights are as good as any
            stage=f"choose, {rung}",
        )
    return student


def _no_teacher(*_: Any) -> nn.Module:
    raise AssertionError("the probe has no teacher")


def _built(rung: Rung, sizes: Sizes, context: Context) -> nn.Module:
    with seeded(context.seed):
        return build(rung, sizes)


def _why(chosen: Looked, scored: Sequence[Looked]) -> str:
    told = [f"{found.rung} scores {found.score:.4f} at {_cost(found)}" for found in scored]
    return f"{chosen.rung}: of the largest in each family that keep the budget, {'; '.join(told)}"


def _cost(found: Looked) -> str:
    latency = "" if found.latency_ms is None else f"{found.latency_ms:.3f} ms ({found.label}), "
    return f"{latency}{found.size_kib:.1f} KiB, {found.macs:,} MACs"


STAGE = Stage(
    name="choose",
    version=4,
    config=ChooseConfig,
    takes=(),
    gives="choice",
    reads=(
        *("data.train", "data.validation", "data.test", "student", "loss", "score", "augment", "collate"),
        *("name", "labels", "preprocessing"),
    ),
    libraries=("edgepress", "torch", "torchao", "lightning-fabric", "litert-torch", "ai-edge-litert", "scipy"),
    run=run,
)
