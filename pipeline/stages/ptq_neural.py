"""ptq_neural: Intel Neural Compressor's static int8 of a network, tuned by accuracy, as an ONNX file; a baseline, or the recipe's engine.

Its `autotune` tries CONFIGURATIONS in turn and stops at the first that loses little enough on the validation split. What it gives is a torch graph with
fake-quantised edges; torch's exporter writes it, since it has no ONNX of its own any more. TFLite can't be written of it.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import fx, nn

from pipeline.architecture import load_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import Evaluation, evaluate, first_inputs
from pipeline.errors import ExportError
from pipeline.quantization.form import FileForm
from pipeline.quantization.source import metadata_of
from pipeline.quantization.trace import MAX_BATCH
from pipeline.quiet import quiet
from pipeline.reproducible import conditions
from pipeline.stage import Context, Progress, Stage
from pipeline.stages.export_onnx import ExportOnnxConfig, write_onnx

CONFIGURATIONS = ({"act_sym": False, "act_algo": "minmax"}, {"act_sym": False, "act_algo": "kl"}, {"act_sym": True})
"""What is tried: ranges from zero points of their own or around zero, by minimum and maximum or by relative entropy."""


class NeuralConfig(ExportOnnxConfig):
    """`calibration_samples` of the training split set the ranges; `tolerable_loss` is the share of the float score that may be lost."""

    calibration_samples: int = Field(default=300, ge=1)
    tolerable_loss: float = Field(default=0.01, ge=0)


def run(inputs: Mapping[str, Artifact], config: NeuralConfig, context: Context) -> Facts:
    """Quantise `network` and write `model.onnx`."""
    task = context.task
    network = load_network(inputs["network"], task).eval()
    settings = config.model_dump(exclude={"calibration_samples", "tolerable_loss"})
    form = FileForm(**{**settings, "input_type": "float32", "output_type": "float32"}, metadata=metadata_of(task))
    with conditions(threads=1, deterministic=True, accelerator="cpu"):
        program = _tuned(network, config, context)
        write_onnx(program, task.example(), context.out / "model.onnx", form=form)
    context.progress(Progress(done=1, total=1, says={}))
    return dict(inputs["network"].facts)


def _tuned(network: nn.Module, config: NeuralConfig, context: Context) -> fx.GraphModule:
    """Return the first configuration's program that keeps the score, else the best."""
    task = context.task
    samples = list(first_inputs(task, "train", config.calibration_samples))
    whole = evaluate(network, task)

    def calibrate(program: nn.Module) -> None:
        for sample in samples:
            program(*sample)

    with quiet() as noise:
        # Loaded here: seconds that a cached run needn't pay.
        from neural_compressor.torch.export import export  # noqa: PLC0415
        from neural_compressor.torch.quantization import StaticQuantConfig, TuningConfig, autotune  # noqa: PLC0415
        from torch.export import Dim  # noqa: PLC0415 - with it

        tried: Any = [StaticQuantConfig(**each) for each in CONFIGURATIONS]
        free = tuple({0: Dim("batch", min=1, max=MAX_BATCH)} for _ in task.example())
        try:
            program: fx.GraphModule | None = autotune(
                model=export(network, example_inputs=task.example(), dynamic_shapes=free),
                tune_config=TuningConfig(config_set=tried, tolerable_loss=config.tolerable_loss, max_trials=len(tried)),
                eval_fn=lambda module: _kept(evaluate(module, task), whole),
                run_fn=calibrate,
                example_inputs=task.example(),
            )
        except Exception as error:  # it raises classes of its own and torch's, without a common root
            reason = " ".join(f"{error} {noise.text}".split())[:300]
            raise ExportError(
                f"neural-compressor can't quantise this network: {type(error).__name__}: {reason}; take another engine"
            ) from error
    if program is None:
        raise ExportError("neural-compressor found no configuration that works for this network; take another engine")
    return program


def _kept(found: Evaluation, whole: Evaluation) -> float:
    """Return what is kept of the float network's score, 1 where nothing is lost: `autotune` takes the higher of two numbers for the better."""
    gained = (found.score - whole.score) * (1 if whole.higher_is_better else -1)
    return 1 + gained / max(abs(whole.score), 1e-12)


STAGE = Stage(
    name="ptq_neural",
    version=2,
    config=NeuralConfig,
    takes=("network",),
    gives="onnx",
    reads=("data.train", "data.validation", "score", "loss", "collate", "name", "labels", "preprocessing"),
    libraries=("edgepress", "torch", "neural-compressor", "neural-compressor-pt", "onnx"),
    run=run,
)
