"""tflite_file: the last strokes on a converted TFLite file: names, metadata, float inputs and outputs, no trace of this machine.

The converter always gives an int8 network int8 inputs and outputs, and names tensors by the classes of the user's modules;
here they get the names that were asked for, and a QUANTIZE or DEQUANTIZE at the rim where floats were. The file is
read and written as a flatbuffer by the schema's own object interface
(https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs).
"""

import re
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pipeline.quantization.form import FileForm

FILE_IDENTIFIER = b"TFL3"
DESCRIPTION = "edgepress"
LAYER = re.compile(r"[^/;]*?\.?[A-Z][A-Za-z0-9]*_([^/;]+)")
"""One step of a converter's tensor name, "torch.nn.modules.conv.Conv2d_c1": the class, then the attribute that holds it."""


def finish(content: bytes, form: FileForm) -> bytes:
    """Return the file with the form's names, types and metadata."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    _take_in(model, content)
    graph = model.subgraphs[0]
    if form.input_type == "float32":
        graph.inputs = [_dequantised_rim(model, graph, index, inside=True) for index in graph.inputs]
    if form.output_type == "float32":
        graph.outputs = [_dequantised_rim(model, graph, index, inside=False) for index in graph.outputs]
    _rename(model, graph, form)
    _write_metadata(model, form)
    model.description = DESCRIPTION
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def _take_in(model: Any, content: bytes) -> None:
    """Put buffers that lie behind the flatbuffer, as ai-edge-quantizer writes large ones, back into it."""
    for buffer in model.buffers:
        if buffer.size:
            buffer.data = np.frombuffer(content, np.uint8, count=buffer.size, offset=buffer.offset)
            buffer.offset = buffer.size = 0


def _dequantised_rim(model: Any, graph: Any, index: int, *, inside: bool) -> int:
    """Put a QUANTIZE before an int8 input, or a DEQUANTIZE after an int8 output; return the index of the float tensor."""
    integers = graph.tensors[index]
    if integers.type != schema.TensorType.INT8:
        return int(index)
    floats = schema.TensorT()
    floats.name, floats.type, floats.buffer = b"float", schema.TensorType.FLOAT32, 0
    floats.shape, floats.shapeSignature, floats.hasRank = integers.shape, integers.shapeSignature, integers.hasRank
    graph.tensors.append(floats)
    new = len(graph.tensors) - 1
    code = schema.BuiltinOperator.QUANTIZE if inside else schema.BuiltinOperator.DEQUANTIZE
    operator = schema.OperatorT()
    operator.opcodeIndex = _operator_code(model, code)
    operator.inputs, operator.outputs = ([new], [index]) if inside else ([index], [new])
    operator.builtinOptionsType = (
        schema.BuiltinOptions.QuantizeOptions if inside else schema.BuiltinOptions.DequantizeOptions
    )
    operator.builtinOptions = schema.QuantizeOptionsT() if inside else schema.DequantizeOptionsT()
    graph.operators.insert(0 if inside else len(graph.operators), operator)
    for signature in model.signatureDefs or []:
        for mapped in signature.inputs if inside else signature.outputs:
            mapped.tensorIndex = new if mapped.tensorIndex == index else mapped.tensorIndex
    return new


def _operator_code(model: Any, builtin: int) -> int:
    """Return the index of an operator's code, adding it where the file has none."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, 1
    code.deprecatedBuiltinCode = min(builtin, 127)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _rename(model: Any, graph: Any, form: FileForm) -> None:
    taken: set[str] = set()
    names = dict(zip(graph.inputs, form.input_names(len(graph.inputs)), strict=True))
    names |= dict(zip(graph.outputs, form.output_names(len(graph.outputs)), strict=True))
    taken |= set(names.values())
    for index, tensor in enumerate(graph.tensors):
        name = names.get(index) or _free(_layer(tensor.name.decode("utf-8", errors="replace")), taken)
        tensor.name = name.encode()
    for signature in model.signatureDefs or []:
        for mapped in (*signature.inputs, *signature.outputs):
            mapped.name = graph.tensors[mapped.tensorIndex].name
    graph.name = b"main"


def _layer(name: str) -> str:
    """Return the path of the layer in a converter's tensor name, "blocks.0.conv1"; "tensor" where it names none."""
    steps = LAYER.findall(name.partition(";")[0])
    return ".".join(steps) or "tensor"


def _free(name: str, taken: set[str]) -> str:
    number, free = 0, name
    while free in taken:
        number += 1
        free = f"{name}:{number}"
    taken.add(free)
    return free


def _write_metadata(model: Any, form: FileForm) -> None:
    for key, value in sorted(form.metadata.items()):
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = list(value.encode())
        model.buffers.append(buffer)
        entry.name, entry.buffer = key, len(model.buffers) - 1
        model.metadata = [*(model.metadata or []), entry]
