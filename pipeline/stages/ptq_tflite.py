"""ptq_tflite: a control. ai-edge-quantizer's static int8 recipe on a float TFLite file, calibrated on the training split."""

from collections.abc import Mapping

from pipeline.artifact import Artifact, Facts
from pipeline.quiet import quiet
from pipeline.stage import Context, Progress, Stage
from pipeline.stages.ptq_onnx import PtqConfig, calibration_samples


def run(inputs: Mapping[str, Artifact], config: PtqConfig, context: Context) -> Facts:
    """Quantise `model` (a TFLite file) and write `model.tflite`."""
    # Loaded here: the quantiser takes a second that a cached run needn't pay.
    from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415

    source = inputs["model"].file("model.tflite")
    with quiet():
        tool = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
        known = _signature_names(str(source))
        samples = [
            {known[name]: value for name, value in sample.items()}
            for sample in calibration_samples(source, context, config.calibration_samples)
        ]
        ranges = tool.calibrate({"serving_default": samples})
        tool.quantize(ranges).export_model(str(context.out / "model.tflite"), overwrite=True)
    context.progress(Progress(done=1, total=1, says={}))
    return dict(inputs["model"].facts)


def _signature_names(model: str) -> dict[str, str]:
    """Return, for each input tensor of a TFLite file, its name in the signature."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - as above

    signature = Interpreter(model).get_signature_runner("serving_default")
    return {str(detail["name"]): str(name) for name, detail in signature.get_input_details().items()}


STAGE = Stage(
    name="ptq_tflite",
    version=1,
    config=PtqConfig,
    takes=("model",),
    gives="tflite",
    reads=("data.train", "collate"),
    libraries=("ai-edge-litert", "ai-edge-quantizer"),
    run=run,
)
