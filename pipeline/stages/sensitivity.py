"""sensitivity: which layers int8 hurts, and the fewest that must stay in float so that the score is kept.

The network is calibrated, as it stands, with all layers in int8, then with each single layer left in float: how much of the validation score
comes back is that layer's sensitivity (post-training, as in AdaQuant and HAWQ's sweeps; training through the rounding may mend more). Layers
are then left in float one by one, the most sensitive first, each judged together with those before it and kept only where it helps,
until no more than `max_drop` is lost. What that costs in time the target's device says of both files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import Field
from torch import nn

from devices import Request
from pipeline.architecture import load_network, weighted_layers
from pipeline.artifact import Artifact, Facts
from pipeline.batches import first_inputs, predict
from pipeline.quantization.form import FileForm
from pipeline.quantization.freeze import Prepared, freeze
from pipeline.stage import Context, Progress, Stage
from pipeline.stages.export_tflite import write_tflite
from pipeline.stages.trial_files import TrialConfig, calibrated

SHORT = Request(warmup_seconds=0.2, min_seconds=0.3)
Answers = np.ndarray | tuple[np.ndarray, ...]


class SensitivityConfig(TrialConfig):
    """What may be lost of the float score, and how many exceptions at most."""

    max_drop: float = Field(default=0.01, ge=0)
    most: int = Field(default=4, ge=1)
    calibration_samples: int = Field(default=512, ge=1)


@dataclass(frozen=True)
class Judged:
    """The network with these layers in float: its validation score, and how far its answers are from the float network's (relative)."""

    float_layers: tuple[str, ...]
    score: float
    error: float


class _Sweep:
    """The float network, what it answers, and judgements of it with some layers in float."""

    def __init__(self, network: nn.Module, config: SensitivityConfig, context: Context) -> None:
        self.network, self.config, self.context = network.eval(), config, context
        self.sign = 1.0 if context.task.metric.higher_is_better else -1.0
        self.expected = predict(network, context.task, "validation")
        known = context.task.targets("validation")
        self.targets = self.expected if known is None else known
        self.whole = context.task.score(self.expected, self.targets)

    def prepared(self, float_layers: tuple[str, ...]) -> Prepared:
        """Return the network, calibrated, with these layers in float beside those that the rules name."""
        config, task = self.config, self.context.task
        rules = config.rules.model_copy(update={"float_layers": (*config.rules.float_layers, *float_layers)})
        return calibrated(self.network, task.example(), first_inputs(task, "train", config.calibration_samples), rules)

    def judge(self, float_layers: tuple[str, ...]) -> Judged:
        """Judge the network with these layers in float."""
        answers = predict(self.prepared(float_layers), self.context.task, "validation")
        score = self.context.task.score(answers, self.targets)
        return Judged(float_layers, score, _error(answers, self.expected))

    def drop(self, judged: Judged) -> float:
        """Return what is lost of the float score; negative where it gained."""
        return self.sign * (self.whole - judged.score)

    def order(self, judged: Judged) -> tuple[float, float]:
        """Sort key: the better score first, of equal ones the answers nearer to the float network's."""
        return (self.drop(judged), judged.error)


def run(inputs: Mapping[str, Artifact], config: SensitivityConfig, context: Context) -> Facts:
    """Give the layers that stay in float, why, and what was found of each."""
    sweep = _Sweep(load_network(inputs["network"], context.task), config, context)
    all_int8 = sweep.judge(())
    single: list[Judged] = []
    chosen = all_int8
    if sweep.drop(all_int8) > config.max_drop:
        names = [name for name in weighted_layers(sweep.network) if name]
        for number, name in enumerate(names):
            single.append(sweep.judge((name,)))
            context.progress(Progress(number + 1, len(names) + 2, {"score": single[-1].score}))
        chosen = _fewest(sweep, sorted(single, key=sweep.order), all_int8)
    costs = _costs(sweep, chosen) if chosen.float_layers else {}
    context.progress(Progress(1, 1, {}))
    return {
        "float_layers": list(chosen.float_layers),
        "float_score": sweep.whole,
        "int8": asdict(all_int8),
        "chosen": asdict(chosen),
        "layers": [asdict(judged) for judged in sorted(single, key=sweep.order)],
        "costs": costs,
        "why": _why(sweep, all_int8, chosen, config),
    }


def _fewest(sweep: _Sweep, ranked: Sequence[Judged], all_int8: Judged) -> Judged:
    """Return the first set of layers that keeps the score; the best one found where none does."""
    best = all_int8
    for each in ranked:
        if len(best.float_layers) == sweep.config.most or sweep.drop(best) <= sweep.config.max_drop:
            break
        tried = each if not best.float_layers else sweep.judge((*best.float_layers, *each.float_layers))
        if sweep.order(tried) < sweep.order(best):
            best = tried
    return best


def _costs(sweep: _Sweep, chosen: Judged) -> dict[str, Any]:
    """Return what both TFLite files cost: all in int8, and with the exceptions."""
    config, paths = sweep.config, []
    for name, layers in (("int8", ()), ("mixed", chosen.float_layers)):
        path = sweep.context.scratch / f"{name}.tflite"
        form = FileForm(**config.tflite.model_dump())
        write_tflite(freeze(sweep.prepared(layers)), sweep.context.task.example(), path, form=form)
        paths.append(path)
    int8, mixed = (quantities[0] for quantities in config.open_device().measure(paths, SHORT))
    told = {name: getattr(mixed, name) for name in ("quantity", "unit", "label", "device")}
    return {**told, "int8": int8.value, "mixed": mixed.value, "why_invalid": int8.why_invalid or mixed.why_invalid}


def _why(sweep: _Sweep, all_int8: Judged, chosen: Judged, config: SensitivityConfig) -> str:
    lost = f"int8 throughout loses {sweep.drop(all_int8):+.4f} of {sweep.whole:.4f} on validation"
    if not chosen.float_layers:
        return f"{lost}: no layer stays in float" + (
            ", and none alone would help" if sweep.drop(chosen) > config.max_drop else ""
        )
    kept = (
        ""
        if sweep.drop(chosen) <= config.max_drop
        else f", more than max_drop = {config.max_drop:g}; {config.most} exceptions at most"
    )
    return f"{lost}; with {', '.join(chosen.float_layers)} in float {sweep.drop(chosen):+.4f}{kept}"


def _error(answers: Answers, expected: Answers) -> float:
    """Return the distance of all outputs together, relative to the expected ones' size."""
    pairs = zip(*(each if isinstance(each, tuple) else (each,) for each in (answers, expected)), strict=True)
    apart, size = np.array([(np.square(a - b).sum(), np.square(b).sum()) for a, b in pairs]).sum(axis=0)
    return float(np.sqrt(apart / max(size, 1e-12)))


STAGE = Stage(
    name="sensitivity",
    version=2,
    config=SensitivityConfig,
    takes=("network",),
    gives="sensitivity",
    reads=("data.train", "data.validation", "student", "score", "collate"),
    libraries=("torch", "torchao", "litert-torch", "ai-edge-litert"),
    run=run,
)
