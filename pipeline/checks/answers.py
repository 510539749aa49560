"""What a model file answers, float in and float out, on its own runtime in this process.

An int8 file takes and gives integers; its scales lie in the file: at a TFLite tensor, or in the DequantizeLinear behind an ONNX
input and the QuantizeLinear before an ONNX output. Inputs are quantised by them and outputs turned back, so that every
form of a network can be asked the same. A file that wants its channels last gets them there.

For files of our own making: someone else's belong into the sandbox of `devices`. One thread; ONNX Runtime is told not to let
unsigned activations with signed weights saturate on x86 (`session.x64quantprecision`,
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When and why do I need to try U8U8?").

Letters: N samples, C channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from pipeline.errors import ModelError
from pipeline.quiet import quiet

Array = NDArray[Any]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Port:
    """An input or output of a file: `shape` with the batch (0 where it is free), `scale` where its integers stand for floats."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0

    def takes(self, values: Array) -> Array:
        """Return values [N, ...] as the file wants them: channels last where it has them so, quantised, of its type."""
        values = self._arranged(values)
        if self.scale is None:
            return values.astype(self.dtype, copy=False)
        limits = np.iinfo(self.dtype)
        integers = np.rint(values / np.float32(self.scale)) + self.zero_point
        return integers.clip(limits.min, limits.max).astype(self.dtype)

    def gives(self, values: Array) -> Floats:
        """Return an output's values as float32."""
        if self.scale is None:
            return values.astype(np.float32)
        return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    def _arranged(self, values: Array) -> Array:
        wanted, found = self.shape[1:], values.shape[1:]
        if _fits(wanted, found):
            return values
        if len(found) > 1 and _fits(wanted, (*found[1:], found[0])):
            return np.moveaxis(values, 1, -1)
        raise ModelError(
            f"input {self.name!r} of the file is [N, {', '.join(map(str, wanted))}], the task's samples are {list(found)}; "
            "the file belongs to another task, or to an older version of it: run the recipe again"
        )


@dataclass(frozen=True)
class OpenFile:
    """A file that is ready to answer."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    call: Callable[[Sequence[Array]], list[Array]]

    def answer(self, inputs: Sequence[Array]) -> tuple[Floats, ...]:
        """Return the outputs [N, ...] float32 for inputs [N, ...], in as many calls as the file's batch asks for."""
        if len(inputs) != len(self.inputs):
            raise ModelError(
                f"the file takes {len(self.inputs)} inputs, the task's samples have {len(inputs)}; give its own file"
            )
        taken = [port.takes(values) for port, values in zip(self.inputs, inputs, strict=True)]
        count = len(taken[0])
        batch = self.inputs[0].shape[0] or count
        parts = [
            self._call([values[first : first + batch] for values in taken], batch) for first in range(0, count, batch)
        ]
        return tuple(
            port.gives(np.concatenate(pieces))
            for port, pieces in zip(self.outputs, zip(*parts, strict=True), strict=True)
        )

    def _call(self, inputs: list[Array], batch: int) -> list[Array]:
        count = len(inputs[0])
        filled = [np.concatenate([values, values[-1:].repeat(batch - count, axis=0)]) for values in inputs]
        return [values[:count] for values in self.call(filled)]


def open_file(path: Path) -> OpenFile:
    """Open an ONNX or a TFLite file; ModelError when its runtime refuses it."""
    try:
        return _open_tflite(path) if path.suffix == ".tflite" else _open_onnx(path)
    except ModelError:
        raise
    except Exception as error:  # a runtime raises classes of its own, without a common root
        raise ModelError(f"{path} can't be opened ({' '.join(str(error).split())[:200]}); export it again") from error


def _open_onnx(path: Path) -> OpenFile:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(str(path)).graph
    behind = {name: node for node in graph.node if node.op_type == "DequantizeLinear" for name in node.input[:1]}
    before = {name: node for node in graph.node if node.op_type == "QuantizeLinear" for name in node.output}
    inputs = tuple(_onnx_port(value, behind, graph) for value in session.get_inputs())
    outputs = tuple(_onnx_port(value, before, graph) for value in session.get_outputs())

    def call(arrays: Sequence[Array]) -> list[Array]:
        feed = {port.name: array for port, array in zip(inputs, arrays, strict=True)}
        return list(session.run([port.name for port in outputs], feed))

    return OpenFile(inputs, outputs, call)


def _onnx_port(value: Any, nodes: dict[str, onnx.NodeProto], graph: onnx.GraphProto) -> Port:
    """Make a port of what the session says; `nodes` hold the scale of an integer one."""
    shape = tuple(size if isinstance(size, int) else 0 for size in value.shape)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(_ELEMENTS[value.type]).name
    if dtype not in ("int8", "uint8") or value.name not in nodes:
        return Port(value.name, shape, dtype)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    node = nodes[value.name]
    zero = int(numpy_helper.to_array(constants[node.input[2]])) if len(node.input) > 2 else 0
    return Port(value.name, shape, dtype, float(numpy_helper.to_array(constants[node.input[1]])), zero)


def _open_tflite(path: Path) -> OpenFile:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # an ONNX file doesn't pay for it

    with quiet():  # LiteRT announces its delegate from C++
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    inputs = tuple(_tflite_port(detail) for detail in interpreter.get_input_details())
    outputs = tuple(_tflite_port(detail) for detail in interpreter.get_output_details())
    ins = [detail["index"] for detail in interpreter.get_input_details()]
    outs = [detail["index"] for detail in interpreter.get_output_details()]

    def call(arrays: Sequence[Array]) -> list[Array]:
        for index, port, array in zip(ins, inputs, arrays, strict=True):
            if port.shape[0] == 0:
                interpreter.resize_tensor_input(index, array.shape)
        interpreter.allocate_tensors()
        for index, array in zip(ins, arrays, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outs]

    return OpenFile(inputs, outputs, call)


def _tflite_port(detail: dict[str, Any]) -> Port:
    shape = tuple(max(int(size), 0) for size in detail["shape_signature"])
    dtype = np.dtype(detail["dtype"]).name
    scale, zero_point = detail["quantization"]
    if not scale:
        return Port(detail["name"], shape, dtype)
    return Port(detail["name"], shape, dtype, float(scale), int(zero_point))


def _fits(wanted: tuple[int, ...], found: tuple[int, ...]) -> bool:
    return len(wanted) == len(found) and all(size in (0, have) for size, have in zip(wanted, found, strict=True))


_ELEMENTS = {
    "tensor(float)": onnx.TensorProto.FLOAT,
    "tensor(float16)": onnx.TensorProto.FLOAT16,
    "tensor(double)": onnx.TensorProto.DOUBLE,
    "tensor(int8)": onnx.TensorProto.INT8,
    "tensor(uint8)": onnx.TensorProto.UINT8,
    "tensor(int32)": onnx.TensorProto.INT32,
    "tensor(int64)": onnx.TensorProto.INT64,
    "tensor(bool)": onnx.TensorProto.BOOL,
}
