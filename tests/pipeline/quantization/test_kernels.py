"""The kernels against ONNX Runtime's own, one operation a time, on all pairs of codes or on random ones."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.quantization.kernels import Contraction, Curve, Enter, Grid, Mean, Pair, product_table, sum_table

UNSIGNED = 128
ALL_PAIRS = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij")).reshape(2, -1).astype(np.uint8)
Table = Any


def random_grid(generator: np.random.Generator, *, scale: float | None = None) -> Grid:
    drawn = generator.uniform(0.003, 0.03) if scale is None else scale
    return Grid(float(np.float32(drawn)), int(generator.integers(-128, 128)), -128, 127)


def run_onnx(op: str, codes: list[NDArray[Any]], grids: list[Grid], *, domain: str = "com.microsoft") -> NDArray[Any]:
    """Return an integer operation's codes as int64, less 128; the last grid is the output's."""
    names = [f"x{i}" for i in range(len(codes))]
    constants = []
    for name, grid in zip([*names, "y"], grids, strict=True):
        constants.append(helper.make_tensor(f"{name}_scale", TensorProto.FLOAT, [], [grid.scale]))
        constants.append(helper.make_tensor(f"{name}_zero", TensorProto.UINT8, [], [grid.zero_point + UNSIGNED]))
    inputs = [part for name in names for part in (name, f"{name}_scale", f"{name}_zero")]
    node = helper.make_node(op, [*inputs, "y_scale", "y_zero"], ["y"], domain=domain)
    return run_node(node, dict(zip(names, codes, strict=True)), constants)


def run_node(node: onnx.NodeProto, feed: dict[str, NDArray[Any]], constants: list[onnx.TensorProto]) -> NDArray[Any]:
    types = {name: helper.np_dtype_to_tensor_dtype(values.dtype) for name, values in feed.items()}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, types[name], values.shape) for name, values in feed.items()],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")  # no saturation of unsigned times signed
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    found: NDArray[Any] = onnxruntime.InferenceSession(model, options).run(None, feed)[0]
    return found.astype(np.int64) - UNSIGNED


def signed(codes: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy((codes.astype(np.int16) - UNSIGNED).astype(np.int8))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("op", "table"), [("QLinearAdd", sum_table), ("QLinearMul", product_table)])
def test_onnx_runtime_gives_the_same_code_for_every_pair_of_codes(seed: int, op: str, table: Table) -> None:
    generator = np.random.default_rng(seed)
    a, b, y = (random_grid(generator) for _ in range(3))
    kernel = Pair(table(a, b, y, runtime="onnxruntime"), y)

    expected = run_onnx(op, [*ALL_PAIRS], [a, b, y])

    np.testing.assert_array_equal(expected, kernel(*map(signed, ALL_PAIRS)).numpy())


@pytest.mark.parametrize("table", [sum_table, product_table])
def test_the_runtimes_differ_by_one_in_few_pairs(table: Table) -> None:
    generator = np.random.default_rng(0)
    differences = []
    for _ in range(40):
        a, b, y = (random_grid(generator) for _ in range(3))
        tables = [table(a, b, y, runtime=runtime).clamp(-128, 127) for runtime in ("litert", "onnxruntime")]
        differences.append((tables[0] - tables[1]).abs())
    found = torch.stack(differences)

    assert found.max() == 1
    assert 0 < found.count_nonzero() < 1e-4 * found.numel()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("same_scale", [True, False])
def test_onnx_runtime_gives_the_same_means_in_ties_too(seed: int, *, same_scale: bool) -> None:
    generator = np.random.default_rng(seed)
    x = random_grid(generator)
    y = x if same_scale else random_grid(generator)
    codes = generator.integers(0, 256, (3, 64, 2 * int(generator.integers(1, 60)), 1)).astype(np.uint8)
    kernel = Mean((2, 3), (x, y), keeps=True, runtime="onnxruntime")

    expected = run_onnx("QLinearGlobalAveragePool", [codes], [x, y])

    np.testing.assert_array_equal(expected, kernel(signed(codes)).numpy())


def test_onnx_runtime_gives_the_same_sigmoid_for_every_code() -> None:
    generator = np.random.default_rng(0)
    codes = np.arange(256, dtype=np.uint8)
    for _ in range(50):
        x, y = random_grid(generator, scale=generator.uniform(0.003, 0.2)), Grid(1 / 256, -128, -128, 127)
        expected = run_onnx("QLinearSigmoid", [codes], [x, y])

        np.testing.assert_array_equal(expected, Curve(torch.sigmoid, (x, y))(signed(codes)).numpy())


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_onnx_runtime_gives_the_same_convolution(groups: int) -> None:
    generator = np.random.default_rng(groups)
    x, y = random_grid(generator), random_grid(generator, scale=0.3)
    codes = generator.integers(0, 256, (2, 16, 9, 9)).astype(np.uint8)
    w = generator.integers(-127, 128, (32, 16 // groups, 3, 3)).astype(np.int8)
    w_scale = generator.uniform(0.001, 0.02, 32).astype(np.float32)
    step = x.s * torch.from_numpy(w_scale)
    b = generator.integers(-50_000, 50_000, 32).astype(np.int32)
    kernel = Contraction(
        torch.conv2d,
        ([2, 2], [1, 1], [1, 1], groups),
        w=torch.from_numpy(w),
        bias=torch.from_numpy(b) * step,
        step=step,
        grids=(x, y),
    )
    constants = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in [
            ("x_scale", np.float32(x.scale)),
            ("x_zero", np.uint8(x.zero_point + UNSIGNED)),
            ("w", w),
            ("w_scale", w_scale),
            ("w_zero", np.zeros(32, np.int8)),
            ("y_scale", np.float32(y.scale)),
            ("y_zero", np.uint8(y.zero_point + UNSIGNED)),
            ("b", b),
        ]
    ]
    node = helper.make_node(
        "QLinearConv", ["x", *(c.name for c in constants)], ["y"], group=groups, strides=[2, 2], pads=[1, 1, 1, 1]
    )

    expected = run_node(node, {"x": codes}, constants)

    np.testing.assert_array_equal(expected, kernel(signed(codes)).numpy())


def test_a_large_accumulator_is_held_in_double_precision() -> None:
    grid = Grid(0.01, 0, -128, 127)
    w = torch.full((1, 4096), 127)
    kernel = Contraction(
        torch.nn.functional.linear, (), w=w, bias=None, step=torch.tensor([1e-4]), grids=(grid, Grid(1e3, 0, -128, 127))
    )
    codes = torch.full((1, 4096), 127, dtype=torch.int8)
    codes[0, 0] = 126

    accumulator = kernel.op(codes.to(kernel.w.dtype), kernel.w, None)

    assert accumulator.dtype is torch.float64
    assert accumulator.item() == 127 * 127 * 4096 - 127


def test_values_become_codes_by_division_as_in_onnx() -> None:
    generator = np.random.default_rng(0)
    grid = Grid(float(np.float32(1 / 255)), -128, -128, 127)
    x = (generator.integers(0, 511, 10_000) / np.float32(510)).astype(np.float32)
    constants = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [grid.scale]),
        helper.make_tensor("z", TensorProto.UINT8, [], [0]),
    ]

    expected = run_node(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"]), {"x": x}, constants)

    np.testing.assert_array_equal(expected, Enter(grid)(torch.from_numpy(x)).numpy())
