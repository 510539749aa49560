"""quantize: fix the int8 numbers, from data alone (`epochs = 0`) or by training through the rounding.

With epochs it is quantisation-aware training (Jacob et al. 2018, https://arxiv.org/abs/1712.05877) under the teachers that
supervise every stage; the ranges follow the network at first and stand still for the last part, so that the weights settle
on the grid that the files will have. The schemes "dynamic_int8" and "float16" need no numbers fixed here: the files'
own writers convert a float network. "auto" takes what the step `scheme` found to cost less on the target, static int8 where it was not asked.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.architecture import load_network, macs_of, parameters_of, save_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import first_inputs
from pipeline.distillation.supervision import TAKES, SupervisionConfig, supervise
from pipeline.quantization.freeze import Prepared, calibrate, freeze_ranges, prepare, save_quantized
from pipeline.quantization.ranges import Method
from pipeline.quantization.rules import Rules, Scheme
from pipeline.reproducible import conditions
from pipeline.stage import Context, Progress, Stage
from pipeline.training import TrainingConfig, train

Engine = Literal["edgepress", "onnxruntime", "ai-edge-quantizer", "neural-compressor"]
ENGINES: Mapping[str, tuple[str, str]] = {
    "onnxruntime": ("onnx", "ptq_onnx"),
    "ai-edge-quantizer": ("tflite", "ptq_tflite"),
    "neural-compressor": ("onnx", "ptq_neural"),
}
"""Other tools that quantise from data alone: the format that each gives, and the stage that asks it."""
Baseline = Literal["calibration", "onnxruntime", "ai-edge-quantizer", "neural-compressor"]


class QuantizeConfig(TrainingConfig, SupervisionConfig):
    """`calibration_samples` of the training split set the first ranges; `frozen_share` is the last part of the steps.

    `exceptions` = "auto" leaves the fewest layers in float with which int8 loses no more than `exceptions_max_drop` of the float score
    before it trains; see the stage `sensitivity`. `engine` names another tool, which quantises in the one format that it has, from data alone
    (`epochs` = 0); `baselines` are quantised beside, as controls: by such tools, and by our own calibration without training. Both are read by `plan`.
    """

    not_in_key: ClassVar[frozenset[str]] = TrainingConfig.not_in_key | {"engine", "baselines"}

    engine: Engine = "edgepress"
    baselines: tuple[Baseline, ...] = ()

    scheme: Literal["auto"] | Scheme = "auto"
    epochs: int = Field(default=6, ge=0)
    learning_rate: float = Field(default=5e-4, gt=0)
    schedule: Literal["one_cycle", "cosine", "constant"] = "cosine"
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    rules: Rules = Rules()
    exceptions: Literal["none", "auto"] = "none"
    exceptions_max_drop: float = Field(default=0.01, ge=0)
    ranges: Method = "moving"
    calibration_samples: int = Field(default=512, ge=1)
    frozen_share: float = Field(default=0.5, ge=0, le=1)

    @field_validator("engine")
    @classmethod
    def _others_train_nothing(cls, engine: Engine, others: ValidationInfo) -> Engine:
        if engine != "edgepress" and others.data.get("epochs"):
            raise PydanticCustomError("engine", "it quantises from data alone: set epochs = 0 beside it")
        return engine


def run(inputs: Mapping[str, Artifact], config: QuantizeConfig, context: Context) -> Facts:
    """Give the quantised network."""
    task, scheme = context.task, _scheme(inputs, config)
    network = load_network(inputs["network"], task)
    save_network(network, context.out, constructor="student", fresh=task.student())
    facts: dict[str, Any] = {
        "parameters": parameters_of(network),
        "macs": macs_of(network, task.example()),
        "scheme": scheme,
        "weight_bits": config.rules.weight_bits,
    }
    if scheme != "static_int8":
        context.progress(Progress(1, 1, {}))
        return facts
    prepared = prepare(network, task.example(), _rules(inputs, config), ranges=config.ranges)
    with conditions(threads=config.threads, deterministic=config.deterministic, accelerator="cpu"):
        calibrate(prepared, first_inputs(task, "train", config.calibration_samples))
    if config.epochs:
        facts |= _trained(prepared, inputs, config, context)
    freeze_ranges(prepared)
    save_quantized(prepared, context.out)
    context.progress(Progress(1, 1, {}))
    return {**facts, "float_layers": [asdict(layer) for layer in prepared.float_layers]}


def _scheme(inputs: Mapping[str, Artifact], config: QuantizeConfig) -> Scheme:
    if config.scheme != "auto":
        return config.scheme
    found: Scheme = inputs["scheme"].facts["scheme"] if "scheme" in inputs else "static_int8"
    return found


def _rules(inputs: Mapping[str, Artifact], config: QuantizeConfig) -> Rules:
    """Return the rules, with the layers that were found to need float."""
    found: list[str] = inputs["sensitivity"].facts["float_layers"] if "sensitivity" in inputs else []
    return config.rules.model_copy(update={"float_layers": (*config.rules.float_layers, *found)})


def _trained(prepared: Prepared, inputs: Mapping[str, Artifact], config: QuantizeConfig, context: Context) -> Facts:
    def on_step(step: int, total: int) -> None:
        moves = config.ranges == "moving" and step < total * (1 - config.frozen_share)
        prepared.set_phase("follow" if moves else "frozen")

    with supervise(prepared, inputs, config, context=context, views=config.views, load=load_network) as supervision:
        result = train(
            prepared,
            supervision.loss,
            config,
            task=context.task,
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            evaluate=supervision.evaluate,
            extra=supervision.extra,
            on_step=on_step,
            stage="quantize",
        )
    return result.facts()


STAGE = Stage(
    name="quantize",
    version=3,
    config=QuantizeConfig,
    takes=("network", "scheme?", "sensitivity?", *TAKES),
    gives="quantized",
    reads=("data.train", "data.validation", "student", "loss", "score", "augment", "collate"),
    libraries=("torch", "torchao", "lightning-fabric"),
    run=run,
)
