"""export_onnx: a network, or a quantised one, as an ONNX file.

torch's exporter (`dynamo=True`) writes the graph; `quantization.onnx_integers` puts the int8 one into the form that ONNX
Runtime's integer kernels take. What the exporter leaves behind of this machine (source lines, paths, module types) is
stripped, so that equal programs give equal bytes. Half precision and dynamic-range int8 are ONNX Runtime's own converters.

Legend: inputs [N, ...]; N is free where the batch is dynamic, else 1.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, fx

from pipeline.artifact import Artifact, Facts
from pipeline.errors import ExportError
from pipeline.quantization.form import FileForm, Layout
from pipeline.quantization.onnx_integers import drop_unread, put_in_order, to_integers
from pipeline.quantization.program import flatten_linears, fold_weights, is_frozen, take_channels_last
from pipeline.quantization.rules import Scheme
from pipeline.quantization.source import metadata_of, program_of
from pipeline.quantization.trace import MAX_BATCH
from pipeline.quiet import quiet
from pipeline.stage import Context, Stage, StageConfig

OPSET = 18
"""The first opset of torch's dynamo exporter; ONNX Runtime reads it since 1.14."""
IR_VERSION = 10
"""ONNX Runtime reads it since 1.18 (https://onnxruntime.ai/docs/reference/compatibility.html)."""


class ExportOnnxConfig(StageConfig):
    """The file's form, poured in from the target. Integer inputs and outputs are uint8: see `onnx_integers`."""

    input_layout: Layout = "NCHW"
    input_type: Literal["float32", "uint8"] = "float32"
    output_type: Literal["float32", "uint8"] = "float32"
    dynamic_batch: bool = True
    input_name: str = "input"
    output_name: str = "output"


def run(inputs: Mapping[str, Artifact], config: ExportOnnxConfig, context: Context) -> Facts:
    """Write `model.onnx` from `model`, a network or a quantised one."""
    program, scheme, facts = program_of(inputs["model"], context.task)
    form = FileForm(**config.model_dump(), metadata=metadata_of(context.task))
    write_onnx(program, context.task.example(), context.out / "model.onnx", form=form, scheme=scheme)
    return facts


def write_onnx(
    program: fx.GraphModule,
    example_inputs: tuple[Tensor, ...],
    path: Path,
    *,
    form: FileForm,
    scheme: Scheme | None = None,
) -> None:
    """Write a frozen int8 program, or a folded float one, as an ONNX file.

    `scheme` "float16" or "dynamic_int8" converts a float program on the way. The same program gives the same bytes.
    """
    integer = is_frozen(program)
    own = flatten_linears(fold_weights(program)) if integer else program
    if form.input_layout == "NHWC":
        own = take_channels_last(own)
        example_inputs = tuple(x.movedim(1, -1) if x.dim() > 2 else x for x in example_inputs)
    model = _converted(_exported(own, example_inputs, form), scheme)
    _strip(model)
    drop_unread(model)
    if integer:
        to_integers(model, integer_inputs=form.input_type == "uint8", integer_outputs=form.output_type == "uint8")
    for key, value in sorted(form.metadata.items()):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _exported(program: fx.GraphModule, example_inputs: tuple[Tensor, ...], form: FileForm) -> ModelProto:
    inputs = tuple(x.repeat(2, *[1] * (x.dim() - 1))[:2] if form.dynamic_batch else x[:1] for x in example_inputs)
    shapes = tuple({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)} for _ in inputs) if form.dynamic_batch else None
    with torch.no_grad():
        outputs = program(*inputs)
    count = len(outputs) if isinstance(outputs, list | tuple) else 1
    try:
        with quiet() as noise:
            found = torch.onnx.export(
                program,
                inputs,
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                dynamic_shapes=shapes,
                input_names=form.input_names(len(inputs)),
                output_names=form.output_names(count),
                verbose=False,
            )
    except Exception as error:  # the exporter raises classes of its own, without a common root
        reason = " ".join(str(error).split())[:300] or noise.text[-300:]
        raise ExportError(
            f"the network can't be written as ONNX: {type(error).__name__}: {reason}; use operations that torch.onnx knows"
        ) from error
    assert found is not None
    return found.model_proto


def _converted(model: ModelProto, scheme: Scheme | None) -> ModelProto:
    """Convert a float model to half precision or to int8 weights with dynamic activations, by ONNX Runtime's own tools."""
    del model.graph.value_info[:]  # the exporter's shapes are stale after conversion
    if scheme == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415  # seconds to import

        with quiet():
            half: ModelProto = convert_float_to_float16(model, keep_io_types=True)
        put_in_order(half)
        return half
    if scheme == "dynamic_int8":
        return _dynamic_int8(model)
    return model


def _dynamic_int8(model: ModelProto) -> ModelProto:
    from tempfile import TemporaryDirectory  # noqa: PLC0415  # with its only user

    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415  # seconds to import

    with TemporaryDirectory() as folder, quiet():
        target = Path(folder) / "dynamic.onnx"
        quantize_dynamic(model, target, weight_type=QuantType.QInt8, per_channel=True)
        return onnx.load(target)


def _strip(model: ModelProto) -> None:
    """Take out what the exporter says about this machine and the network's source."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version, model.doc_string, model.domain = "edgepress", "", "", ""
    del model.metadata_props[:]
    del model.functions[:]
    graph = model.graph
    graph.name, graph.doc_string = "main", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


STAGE = Stage(
    name="export_onnx",
    version=3,
    config=ExportOnnxConfig,
    takes=("model",),
    gives="onnx",
    reads=("data.validation", "collate", "name", "labels", "preprocessing"),
    libraries=("edgepress", "torch", "torchao", "onnx", "onnxscript", "onnxruntime"),
    run=run,
)
