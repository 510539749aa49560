"""Multiply-accumulates and peak memory, against figures worked out by hand, the network's own, and a real arena."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from devices import QUICK, open_device
from pipeline.checks.footprint import macs, macs_by_op, peak_activation_bytes
from pipeline.checks.graph import Graph, Node, Tensor, read_graph
from tests.pipeline.checks.examined_here import examined_here
from tests.small_files import write_float_tflite, write_onnx, write_tflite

Shapes = dict[str, tuple[int, ...]]
MICROSOFT = "com.microsoft"


def built(
    folder: Path,
    nodes: list[onnx.NodeProto],
    *,
    takes: list[int | str],
    gives: str = "y",
    weights: Shapes | None = None,
) -> Graph:
    """Return the graph of an ONNX file with these operators, with the shapes for a batch of one."""
    constants = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in (weights or {}).items()]
    graph = helper.make_graph(
        nodes,
        "built",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, None)],
        constants,
    )
    domains = [helper.make_opsetid("", 20), *(helper.make_opsetid(node.domain, 1) for node in nodes if node.domain)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    path = folder / "built.onnx"
    path.write_bytes(model.SerializeToString())
    return examined_here(path).sized


def test_both_formats_of_one_network_cost_the_same(tmp_path: Path) -> None:
    convolution, dense = 4 * 4 * 4 * (3 * 3 * 2), 4 * 3

    for path in (write_onnx(tmp_path / "m.onnx"), write_tflite(tmp_path / "m.tflite")):
        assert macs(examined_here(path).sized) == convolution + dense


@pytest.mark.parametrize(
    ("node", "takes", "weights", "count"),
    [
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4), ["n", 8, 10, 10], {"w": (8, 2, 3, 3)}, 8 * 64 * 18),
        (helper.make_node("Conv", ["x", "w"], ["y"], strides=[2]), [1, 4, 9], {"w": (6, 4, 3)}, 6 * 4 * 12),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), [1, 4, 5, 5], {"w": (4, 3, 2, 2)}, 100 * 12),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), ["n", 7], {"w": (5, 7)}, 35),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), [1, 6, 7], {"w": (7, 5)}, 6 * 35),
        (helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3), [9, 1, 4], {"w": (1, 12, 4), "r": (1, 12, 3)}, 9 * (48 + 36)),
        (helper.make_node("DynamicQuantizeLSTM", ["x", "w", "r"], ["y"], domain=MICROSOFT), [9, 1, 4], {"w": (1, 4, 12), "r": (1, 3, 12)}, 9 * (48 + 36)),
        (helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], domain=MICROSOFT, K=64, N=5, bits=4, block_size=32), [3, 64], {"w": (5, 2, 16), "s": (10,)}, 3 * 64 * 5),
        (helper.make_node("Relu", ["x"], ["y"]), [1, 8], {}, 0),
    ],
    ids=lambda given: given.op_type if isinstance(given, onnx.NodeProto) else "",
)  # fmt: skip
def test_each_kind_of_operator_costs_what_its_shapes_say(
    node: onnx.NodeProto, takes: list[int | str], weights: Shapes, count: int, tmp_path: Path
) -> None:
    graph = built(tmp_path, [node], takes=takes, weights=weights)

    assert macs(graph) == count
    assert macs_by_op(graph)[node.op_type] == count


@pytest.mark.parametrize(
    ("op", "takes", "weights", "gives", "count"),
    [
        ("SVDF", (1, 40), [(256, 40), (256, 10)], (1, 128), 256 * 50),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", (1, 9, 4), [(3, 4), (3, 3)], (1, 9, 3), 9 * 21),
        ("BIDIRECTIONAL_SEQUENCE_RNN", (1, 9, 4), [(3, 4), (3, 3), (3, 4), (3, 3)], (1, 9, 6), 9 * 42),
        ("BIDIRECTIONAL_SEQUENCE_LSTM", (1, 9, 4), [(3, 4)] * 8 + [(3, 3)] * 8, (1, 9, 6), 9 * 8 * 21),
        ("CONV_3D_TRANSPOSE", (1, 5, 5, 5, 4), [(2, 2, 2, 3, 4)], (1, 6, 6, 6, 3), 500 * 24),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_each_kind_of_tflite_operator_costs_what_its_shapes_say(
    op: str, takes: tuple[int, ...], weights: list[tuple[int, ...]], gives: tuple[int, ...], count: int
) -> None:
    stored = [Tensor(f"w{n}", "int8", shape, None, constant=True, size_bytes=1) for n, shape in enumerate(weights)]
    x, state, y = (
        Tensor(name, "int8", shape, None, constant=False, size_bytes=0)
        for name, shape in (("x", takes), ("state", (1, 3)), ("y", gives))
    )
    reads = ["sizes", "w0", "x"] if op == "CONV_3D_TRANSPOSE" else ["x", *(each.name for each in stored), "state"]
    tensors = {each.name: each for each in (x, state, y, *stored)}

    graph = Graph(Path("m"), "tflite", 1, (Node(op, tuple(reads), ("y",)),), tensors, ("x",), ("y",))
    assert macs(graph) == count


@pytest.mark.parametrize(
    ("op", "domain"),
    [
        ("DynamicQuantizeMatMul", MICROSOFT),
        ("MatMulIntegerToFloat", MICROSOFT),
        ("GroupQueryAttention", MICROSOFT),
        ("QMoE", MICROSOFT),
        ("QLinearConvTranspose", "com.ms.internal.nhwc"),
        ("LinearAttention", ""),
        ("LinearClassifier", "ai.onnx.ml"),
        ("Relu", "of.a.stranger"),
        ("Detect", "custom"),
        ("STABLEHLO_DOT_GENERAL", ""),
        ("EMBEDDING_LOOKUP_SPARSE", ""),
        ("BUILTIN_900", ""),
    ],
)
def test_an_operator_that_may_multiply_and_is_not_counted_leaves_the_sum_unknown(op: str, domain: str) -> None:
    x, y = (Tensor(name, "float32", (1, 8), None, constant=False, size_bytes=0) for name in "xy")
    graph = Graph(Path("m"), "onnx", 1, (Node(op, ("x",), ("y",), domain),), {"x": x, "y": y}, ("x",), ("y",))

    assert macs(graph) is None


def test_what_a_file_does_not_tell_is_not_guessed(tmp_path: Path) -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"])

    open_height = built(tmp_path, [conv], takes=[1, 3, "height", 8], weights={"w": (4, 3, 3, 3)})
    assert (macs(open_height), peak_activation_bytes(open_height)) == (None, None)
    einsum = helper.make_node("Einsum", ["x", "w"], ["y"], equation="ij,jk->ik")
    assert macs(built(tmp_path, [einsum], takes=[2, 3], weights={"w": (3, 4)})) is None


@pytest.mark.parametrize("sizes", [(-4, 8), (2**62, 2**62)])
def test_sizes_that_nothing_can_have_tell_nothing(sizes: tuple[int, ...]) -> None:
    x, y = (Tensor(name, "float32", sizes, None, constant=False, size_bytes=0) for name in "xy")
    w = Tensor("w", "float32", (8, 8), None, constant=True, size_bytes=256)
    graph = Graph(Path("m"), "onnx", 1, (Node("MatMul", ("x", "w"), ("y",)),), {"x": x, "w": w, "y": y}, ("x",), ("y",))

    assert (macs(graph), peak_activation_bytes(graph)) == (None, None)


def test_the_peak_is_where_most_lives_at_once(tmp_path: Path) -> None:
    # x 4 values, wide 4*6, then narrow; x is added at the end, so it lives through all of it.
    nodes = [
        helper.make_node("Expand", ["x", "sizes"], ["wide"]),
        helper.make_node("ReduceSum", ["wide", "axes"], ["narrow"], keepdims=0),
        helper.make_node("Add", ["narrow", "x"], ["y"]),
    ]
    constants = [
        helper.make_node("Constant", [], ["sizes"], value_ints=[6, 1, 4]),
        helper.make_node("Constant", [], ["axes"], value_ints=[0]),
    ]

    graph = built(tmp_path, [*constants, *nodes], takes=[1, 4])
    assert peak_activation_bytes(graph) == 4 * (4 + 24 + 4)


def test_integers_take_a_quarter_and_weights_nothing(tmp_path: Path) -> None:
    image, convolved = 4 * 4 * 2, 4 * 4 * 4

    assert peak_activation_bytes(read_graph(write_tflite(tmp_path / "int8.tflite"))) == image + convolved
    assert peak_activation_bytes(read_graph(write_float_tflite(tmp_path / "float.tflite"))) == 4 * (image + convolved)


def test_an_arena_is_never_smaller_than_the_peak(tmp_path: Path) -> None:
    path = write_tflite(tmp_path / "m.tflite")
    (figures,) = open_device("tflm").measure([path], QUICK)

    arena = next(figure.value for figure in figures if figure.quantity.startswith("arena"))
    peak = peak_activation_bytes(read_graph(path))
    assert peak is not None
    assert peak <= arena * 1024


def test_a_network_counts_what_its_own_file_counts(tmp_path: Path) -> None:
    import torch

    from pipeline.architecture import macs_of
    from pipeline.networks.resnet import resnet8
    from pipeline.quiet import quiet

    network, example = resnet8().eval(), (torch.zeros(1, 1, 28, 28),)
    path = tmp_path / "resnet8.onnx"
    with quiet():
        torch.onnx.export(network, example, path, dynamo=True, verbose=False, external_data=False)

    assert macs(examined_here(path).sized) == macs_of(network, example)
