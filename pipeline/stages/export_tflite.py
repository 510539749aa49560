"""export_tflite: a network, or a quantised one, as a TFLite file.

litert_torch converts; a `QuantConfig` switches it to static int8, without which the file would be valid and float throughout
(its quantiser annotates nothing: the scales are the frozen program's). Half precision and dynamic-range int8 are
ai-edge-quantizer's. Names, metadata and float inputs and outputs are put in afterwards (`quantization.tflite_file`).

Legend: inputs [N, ...]; N is 1 unless the batch is dynamic.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, fx

from pipeline.artifact import Artifact, Facts
from pipeline.errors import ExportError
from pipeline.quantization.form import FileForm, Layout
from pipeline.quantization.program import is_frozen, take_channels_last
from pipeline.quantization.rules import Scheme
from pipeline.quantization.source import metadata_of, program_of
from pipeline.quantization.trace import MAX_BATCH
from pipeline.quiet import quiet
from pipeline.stage import Context, Stage, StageConfig


class ExportTfliteConfig(StageConfig):
    """The file's form, poured in from the target."""

    input_layout: Layout = "NCHW"
    input_type: Literal["float32", "int8"] = "int8"
    output_type: Literal["float32", "int8"] = "int8"
    dynamic_batch: bool = False
    input_name: str = "input"
    output_name: str = "output"


def run(inputs: Mapping[str, Artifact], config: ExportTfliteConfig, context: Context) -> Facts:
    """Write `model.tflite` from `model`, a network or a quantised one."""
    program, scheme, facts = program_of(inputs["model"], context.task)
    form = FileForm(**config.model_dump(), metadata=metadata_of(context.task))
    write_tflite(program, context.task.example(), context.out / "model.tflite", form=form, scheme=scheme)
    return facts


def write_tflite(
    program: fx.GraphModule,
    example_inputs: tuple[Tensor, ...],
    path: Path,
    *,
    form: FileForm,
    scheme: Scheme | None = None,
) -> None:
    """Write a frozen int8 program, or a folded float one, as a TFLite file.

    `scheme` "float16" or "dynamic_int8" converts a float program on the way. The same program gives the same bytes.
    """
    # Loaded here: it reads the flatbuffer's schema, which a cached run needn't.
    from pipeline.quantization.tflite_file import finish  # noqa: PLC0415

    own, inputs = program, tuple(x[:1] for x in example_inputs)
    if form.input_layout == "NHWC":
        own = take_channels_last(own)
        inputs = tuple(x.movedim(1, -1).contiguous() if x.dim() > 2 else x for x in inputs)
    content = _converted(_convert(own, inputs, form), scheme)
    path.write_bytes(finish(content, form))


def _convert(program: fx.GraphModule, inputs: tuple[Tensor, ...], form: FileForm) -> bytes:
    try:
        with quiet() as noise:
            # Loaded here: seconds and half a gigabyte that a cached run needn't pay.
            import litert_torch  # noqa: PLC0415

            register_pad()
            settings: dict[str, Any] = {"quant_config": _static_int8()} if is_frozen(program) else {}
            if form.dynamic_batch:
                inputs = tuple(x.repeat(2, *[1] * (x.dim() - 1)) for x in inputs)
                settings["dynamic_shapes"] = tuple({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)} for _ in inputs)
            content: bytes = litert_torch.convert(program.eval(), inputs, **settings).model_content()
            return content
    except Exception as error:  # the converter raises classes of its own, without a common root
        reason = " ".join(f"{error} {noise.text}".split())[:400]
        raise ExportError(
            f"the network can't be written as TFLite: {type(error).__name__}: {reason}; {_advice(form)}"
        ) from error


def _advice(form: FileForm) -> str:
    if form.dynamic_batch:
        return "set dynamic_batch = false: the converter knows few operations with a free batch"
    return "keep the layer that it names in float with float_layers, or use operations that LiteRT knows"


def _static_int8() -> Any:
    """Return the switch to static int8: the quantiser in it is never asked."""
    from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config  # noqa: PLC0415  # as above
    from litert_torch.quantize.quant_config import QuantConfig  # noqa: PLC0415  # as above

    settings = get_symmetric_quantization_config(is_per_channel=True, is_qat=True)
    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(settings))


def register_pad() -> None:
    """Teach the converter's layout pass to pad channels-last: else each pad between convolutions costs two transposes."""
    from litert_torch._convert.fx_passes.optimize_layout_transposes_pass import layout_rewrite  # noqa: PLC0415  # as above

    layout_rewrite.rewriters.register(torch.ops.aten.constant_pad_nd.default)(_pad_channels_last)


def _pad_channels_last(node: fx.Node) -> None:
    """Rewrite a pad of [N, C, H, W], given from the last axis backwards in pairs, for [N, H, W, C]."""
    sides: Any = list(node.args[1])  # type: ignore[arg-type]  # a list by aten's schema
    width, height, channels, batch = (sides[start : start + 2] or [0, 0] for start in (0, 2, 4, 6))
    node.args = (node.args[0], [*channels, *width, *height, *batch], *node.args[2:])


def _converted(content: bytes, scheme: Scheme | None) -> bytes:
    """Convert a float file to half-precision weights, or to int8 weights with dynamic activations."""
    if scheme not in ("float16", "dynamic_int8"):
        return content
    from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415  # a second to import

    with quiet():
        found = recipe.dynamic_wi8_afp32() if scheme == "dynamic_int8" else _half()
        return bytes(quantizer.Quantizer(bytearray(content), found).quantize().quantized_model)


def _half() -> Any:
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe_manager  # noqa: PLC0415  # as above

    recipes = recipe_manager.RecipeManager()
    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights, compute_precision=qtyping.ComputePrecision.FLOAT, explicit_dequantize=True
    )
    recipes.add_quantization_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=config,
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    return recipes.get_quantization_recipe()


STAGE = Stage(
    name="export_tflite",
    version=3,
    config=ExportTfliteConfig,
    takes=("model",),
    gives="tflite",
    reads=("data.validation", "collate", "name", "labels", "preprocessing"),
    libraries=(
        *("edgepress", "torch", "torchao"),
        *("litert-torch", "litert-converter", "ai-edge-litert", "ai-edge-quantizer"),
    ),
    run=run,
)
