"""Reading model files: what a Graph shows, and that no bytes whatever crash it."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from pipeline.checks import graph as graph_module
from pipeline.checks.graph import Graph, read_graph
from pipeline.errors import ModelError
from tests.small_files import HIDDEN, INPUT, write_float_onnx, write_float_tflite, write_onnx, write_tflite


def test_both_formats_show_the_same_network(tmp_path: Path) -> None:
    from_onnx, from_tflite = (
        read_graph(write_onnx(tmp_path / "m.onnx")),
        read_graph(write_tflite(tmp_path / "m.tflite")),
    )

    assert [node.op for node in from_tflite.nodes] == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert [node.op for node in from_onnx.nodes if "Linear" not in node.op] == [
        "Conv",
        "Relu",
        "GlobalAveragePool",
        "Flatten",
        "Gemm",
    ]
    assert (from_onnx.inputs, from_onnx.outputs) == (("x",), ("y",))
    assert (from_tflite.inputs, from_tflite.outputs) == (("x",), ("y",))


def test_scales_zero_points_and_axes_are_the_files_own(tmp_path: Path) -> None:
    from_onnx, from_tflite = (
        read_graph(write_onnx(tmp_path / "m.onnx")),
        read_graph(write_tflite(tmp_path / "m.tflite")),
    )

    hidden = from_onnx.tensors["r.stored"].quantization
    assert hidden is not None
    assert hidden.scales == (float(np.float32(HIDDEN[0])),)
    assert hidden.zero_points == (HIDDEN[1] + 128,)
    weight = from_onnx.tensors["conv.stored"]
    assert weight.quantization is not None
    assert (weight.dtype, weight.shape, weight.constant, weight.size_bytes) == ("int8", (4, 2, 3, 3), True, 72)
    assert (weight.quantization.axis, len(weight.quantization.scales)) == (0, 4)
    same = from_tflite.tensors["conv.weight"].quantization
    assert same is not None
    assert same == weight.quantization


def test_input_and_output_types_and_shapes_are_shown(tmp_path: Path) -> None:
    from_onnx, from_tflite = (
        read_graph(write_onnx(tmp_path / "m.onnx")),
        read_graph(write_tflite(tmp_path / "m.tflite")),
    )

    assert (from_onnx.tensors["x"].dtype, from_onnx.tensors["x"].shape) == ("float32", (None, 2, 4, 4))
    assert (from_tflite.tensors["x"].dtype, from_tflite.tensors["x"].shape) == ("int8", (1, 4, 4, 2))
    assert from_tflite.tensors["x"].quantization == graph_module.Quantization(
        (float(np.float32(INPUT[0])),), (INPUT[1],), None
    )


def test_producers_and_users_link_nodes(tmp_path: Path) -> None:
    graph = read_graph(write_tflite(tmp_path / "m.tflite"))

    assert graph.producers["conv"].op == "CONV_2D"
    assert [node.op for node in graph.users["conv"]] == ["MEAN"]
    assert "x" not in graph.producers


def test_nodes_of_a_nested_graph_are_shown_and_endless_nesting_is_refused(tmp_path: Path) -> None:
    flat = onnx.load(write_float_onnx(tmp_path / "flat.onnx"))
    nested = onnx.ModelProto()
    nested.CopyFrom(flat)
    for _ in range(3):
        inner = onnx.GraphProto()
        inner.CopyFrom(nested.graph)
        del nested.graph.node[:]
        nested.graph.node.append(onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    path = tmp_path / "nested.onnx"
    path.write_bytes(nested.SerializeToString())

    assert [node.op for node in read_graph(path).nodes].count("Conv") == 8


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 64, b"hello, I am no model", b"\x1c\x00\x00\x00TFL3", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 4000],
)
def test_what_is_no_model_is_a_model_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)

    with pytest.raises(ModelError) as caught:
        read_graph(path)
    assert "\n" not in str(caught.value)


def test_a_zero_point_that_is_no_integer_is_a_model_error(tmp_path: Path) -> None:
    model = onnx.load(write_onnx(tmp_path / "m.onnx"))
    zero_point = next(node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear")
    constant = next(each for each in model.graph.initializer if each.name == zero_point)
    constant.CopyFrom(onnx.numpy_helper.from_array(np.array(np.inf, np.float32), zero_point))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(ModelError, match="is a broken ONNX file"):
        read_graph(tmp_path / "m.onnx")


def test_a_missing_and_an_oversized_file_are_model_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "MAX_MODEL_BYTES", 100)

    with pytest.raises(ModelError, match="can't read model"):
        read_graph(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="larger than 100 bytes"):
        read_graph(write_onnx(tmp_path / "m.onnx"))


@pytest.mark.parametrize("write", [write_onnx, write_tflite, write_float_tflite])
def test_truncated_and_flipped_files_are_read_or_refused_but_never_crash(tmp_path: Path, write: object) -> None:
    whole = write(tmp_path / "whole").read_bytes()  # type: ignore[operator]  # each writer takes a path
    random, path = np.random.default_rng(0), tmp_path / "broken"
    outcomes = []
    for trial in range(400):
        broken = bytearray(whole)
        if trial % 4 == 0:
            broken = broken[: random.integers(1, len(whole))]
        for _ in range(random.integers(1, 6)):
            broken[random.integers(0, len(broken))] = random.integers(0, 256)
        path.write_bytes(bytes(broken))
        outcomes.append(_outcome(path))

    assert set(outcomes) <= {Graph, ModelError}
    assert ModelError in outcomes


def test_tables_that_point_at_one_another_cost_no_time(tmp_path: Path) -> None:
    # 60,000 subgraphs, all the same one with 60,000 tensors: 3.6 billion to read if nothing kept count.
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    builder = flatbuffers.Builder(1024)
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, 60_000)
    for _ in range(60_000):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraph = schema.SubGraphEnd(builder)
    schema.BufferStart(builder)
    buffer = schema.BufferEnd(builder)
    schema.ModelStartBuffersVector(builder, 1)
    builder.PrependUOffsetTRelative(buffer)
    buffers = builder.EndVector()
    schema.ModelStartSubgraphsVector(builder, 60_000)
    for _ in range(60_000):
        builder.PrependUOffsetTRelative(subgraph)
    subgraphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    path = tmp_path / "bomb.tflite"
    path.write_bytes(bytes(builder.Output()))
    started = time.process_time()

    with pytest.raises(ModelError, match="without end"):
        read_graph(path)
    assert time.process_time() - started < 20


def test_reading_a_file_loads_no_torch(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite")
    code = f"import sys, pathlib; from pipeline.checks.graph import read_graph; read_graph(pathlib.Path({str(path)!r})); print('torch' in sys.modules, 'onnx' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )

    assert done.stdout.split() == ["False", "False"]


def _outcome(path: Path) -> type:
    try:
        return type(read_graph(path))
    except ModelError:
        return ModelError
