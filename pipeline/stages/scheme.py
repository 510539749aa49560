"""scheme: static int8 or dynamic-range int8, whichever the target's runtimes really run faster.

Static int8 computes in integers from input to output. What a network has no integer form for (layer norm, GELU, a table of words) stays
in float, and each border between both costs a conversion of all numbers that cross it; dynamic-range int8 keeps the weights
in int8 and crosses no border. Which is faster no rule of thumb says, so that both are written and measured: counted on the emulated core
where the target has one and QEMU is set up, else timed on this machine. A network that is int8 throughout needs no measuring, and a
microcontroller or an accelerator of integers has no choice. Speed follows from shapes: the weights needn't be trained for it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from devices import Request, open_device
from pipeline.architecture import load_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import first_inputs
from pipeline.quantization.fold import fold
from pipeline.quantization.form import FileForm
from pipeline.quantization.freeze import Prepared, calibrate, freeze, freeze_ranges, prepare
from pipeline.quantization.rules import Format, Rules, Scheme
from pipeline.quantization.trace import trace
from pipeline.reproducible import conditions
from pipeline.stage import Context, Progress, Stage, StageConfig
from pipeline.stages.export_onnx import ExportOnnxConfig, write_onnx
from pipeline.stages.export_tflite import ExportTfliteConfig, write_tflite
from targets import Target

CALIBRATION_SAMPLES = 64
"""Enough for ranges that only have to be there: no number of the trial files is looked at but how long they take."""
SHORT = Request(warmup_seconds=0.2, min_seconds=0.3)
LARGE = 100
CANDIDATES: tuple[Scheme, ...] = ("static_int8", "dynamic_int8")


class SchemeConfig(StageConfig):
    """Poured in from the target: the forms of its files, its profile, and the device that stands for it, "qemu" or "host"."""

    rules: Rules = Rules()
    onnx: ExportOnnxConfig = ExportOnnxConfig()
    tflite: ExportTfliteConfig = ExportTfliteConfig()
    device: Literal["host", "qemu"] = "host"
    profile: Target | None = None
    integers_alone: bool = False


@dataclass(frozen=True)
class Trial:
    """What both forms of one file cost, by the quantity that the device judges by; `ratio` above 1 speaks for dynamic."""

    format: Format
    device: str
    quantity: str
    unit: str
    label: str
    static_int8: float
    dynamic_int8: float
    why_invalid: str

    @property
    def ratio(self) -> float:
        """Cost of the static file over that of the dynamic one."""
        return self.static_int8 / max(self.dynamic_int8, 1e-12)


def run(inputs: Mapping[str, Artifact], config: SchemeConfig, context: Context) -> Facts:
    """Give the scheme, why, and what was measured."""
    task = context.task
    network = load_network(inputs["network"], task).eval()
    prepared = prepare(network, task.example(), config.rules)
    if why := _no_choice(prepared, config):
        context.progress(Progress(1, 1, {}))
        return {"scheme": "static_int8", "why": why, "trials": []}
    with conditions(threads=1, deterministic=True, accelerator="cpu"):
        calibrate(prepared, first_inputs(task, "train", CALIBRATION_SAMPLES))
        freeze_ranges(prepared)
        programs = {"static_int8": freeze(prepared), "dynamic_int8": fold(trace(network, task.example()))}
    files = _written(programs, config, context)
    trials = [_tried(format_, files, config) for format_ in config.rules.formats]
    context.progress(Progress(1, 1, {}))
    scheme = CANDIDATES[math.prod(trial.ratio for trial in trials) > 1]
    return {"scheme": scheme, "why": in_words(scheme, trials), "trials": [asdict(trial) for trial in trials]}


def _no_choice(prepared: Prepared, config: SchemeConfig) -> str:
    if config.integers_alone or config.rules.whole_int8:
        return "the target computes in integers alone"
    if not prepared.float_layers:
        return "the network is int8 throughout"
    return ""


def _written(programs: Mapping[str, Any], config: SchemeConfig, context: Context) -> dict[tuple[Scheme, Format], Path]:
    """Write both forms as both files."""
    example, files = context.task.example(), {}
    for number, scheme in enumerate(CANDIDATES):
        left = None if scheme == "static_int8" else scheme
        for format_ in config.rules.formats:
            path = context.scratch / f"{scheme}.{format_}"
            form = FileForm(**getattr(config, format_).model_dump())
            write = write_onnx if format_ == "onnx" else write_tflite
            write(programs[scheme], example, path, form=form, scheme=left)
            files[scheme, format_] = path
        context.progress(Progress(number + 1, len(CANDIDATES) + 1, {}))
    return files


def _tried(format_: Format, files: Mapping[tuple[Scheme, Format], Path], config: SchemeConfig) -> Trial:
    """Measure both forms of one file, in turns."""
    device = open_device(config.device, config.profile)
    measured = device.measure([files[scheme, format_] for scheme in CANDIDATES], SHORT)
    static, dynamic = (quantities[0] for quantities in measured)
    return Trial(
        format=format_,
        device=device.name,
        quantity=static.quantity,
        unit=static.unit,
        label=static.label,
        static_int8=static.value,
        dynamic_int8=dynamic.value,
        why_invalid=static.why_invalid or dynamic.why_invalid,
    )


def in_words(scheme: Scheme, trials: list[Trial]) -> str:
    """Say what was measured, and what of it decides where the files disagree."""
    told = [
        f"{trial.format} on {trial.device}: {trial.quantity} {_number(trial.static_int8)} static, "
        f"{_number(trial.dynamic_int8)} dynamic ({trial.unit}, {trial.label}{', disturbed' if trial.why_invalid else ''})"
        for trial in trials
    ]
    agree = len({trial.ratio > 1 for trial in trials}) == 1
    whole = "" if agree else f" on the whole ({_gain(scheme, trials):.2f} times, the geometric mean of the files)"
    return f"{scheme.partition('_')[0]} costs less{whole}: {'; '.join(told)}"


def _gain(scheme: Scheme, trials: list[Trial]) -> float:
    """Return how many times less a scheme costs than the other, over all files."""
    ratio = math.prod(trial.ratio for trial in trials) ** (1 / len(trials))
    return ratio if scheme == "dynamic_int8" else 1 / ratio


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= LARGE else f"{value:.3g}"


STAGE = Stage(
    name="scheme",
    version=2,
    config=SchemeConfig,
    takes=("network",),
    gives="scheme",
    reads=("data.train", "collate"),
    libraries=("torch", "torchao", "litert-torch", "ai-edge-litert", "ai-edge-quantizer", "onnx", "onnxruntime"),
    run=run,
)
