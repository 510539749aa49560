"""Each lint finds its own defect, and a sound file has none."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pipeline.checks.codes import CODES
from pipeline.checks.graph import read_graph
from pipeline.checks.judgement import judge_file
from pipeline.checks.lints import Finding, Promises, lint
from pipeline.checks.operators import float_operators, fused_graph
from pipeline.errors import ModelError
from tests.small_files import write_float_onnx, write_float_tflite, write_onnx, write_tflite

ONNX = Promises(int8="all", input_type="float32", output_type="float32", dynamic_batch=True)
TFLITE = Promises(int8="all", input_type="int8", output_type="int8", dynamic_batch=False)


def findings(path: Path, promises: Promises) -> list[Finding]:
    graph = read_graph(path)
    return lint(graph, promises, fused=fused_graph(path) if graph.format == "onnx" else None)


def codes(path: Path, promises: Promises) -> list[str]:
    found = [finding.code for finding in findings(path, promises)]
    assert set(found) <= set(CODES)
    return found


def edited(path: Path, edit: object) -> Path:
    model = onnx.load(path)
    edit(model.graph)  # type: ignore[operator]  # each edit takes the graph
    path.write_bytes(model.SerializeToString())
    return path


def replace(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    kept = [constant for constant in graph.initializer if constant.name != name]
    del graph.initializer[:]
    graph.initializer.extend([*kept, numpy_helper.from_array(value, name)])


def test_sound_int8_files_have_no_finding(tmp_path: Path) -> None:
    assert codes(write_onnx(tmp_path / "m.onnx"), ONNX) == []
    assert codes(write_tflite(tmp_path / "m.tflite"), TFLITE) == []


def test_a_float_file_sold_as_int8_is_found_out(tmp_path: Path) -> None:
    by_onnx, by_tflite = (
        codes(write_float_onnx(tmp_path / "m.onnx"), ONNX),
        codes(write_float_tflite(tmp_path / "m.tflite"), TFLITE),
    )

    assert by_onnx.count("float-op") >= 2
    assert by_tflite.count("float-op") == 3
    assert "float-weight" in by_onnx
    assert by_tflite.count("float-weight") == 2
    assert {"input-type", "output-type"} <= set(by_tflite)


def test_a_float_file_that_promised_nothing_has_no_finding(tmp_path: Path) -> None:
    assert codes(write_float_onnx(tmp_path / "m.onnx"), Promises()) == []


@pytest.mark.parametrize(("dtype", "expected"), [("int64", []), ("int32", []), ("float16", ["input-type"])])
def test_ids_keep_their_type_whatever_was_promised_of_numbers(tmp_path: Path, dtype: str, expected: list[str]) -> None:
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ids = onnx.helper.make_tensor_value_info("ids", kind, [1, 3])
    output = onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 3])
    nodes = [onnx.helper.make_node("Cast", ["ids"], ["output"], to=onnx.TensorProto.FLOAT)]
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "main", [ids], [output]), opset_imports=opset, ir_version=10
    )
    onnx.save(model, tmp_path / "m.onnx")

    assert codes(tmp_path / "m.onnx", Promises(int8="none", input_type="float32", output_type="float32")) == expected


def test_a_mean_that_onnx_runtime_has_no_int8_kernel_for_is_float(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx", pool="ReduceMean")

    assert [(finding.code, finding.where) for finding in findings(path, ONNX)] == [("float-op", "p")]


def test_weights_left_in_float_are_found_although_onnx_runtime_quantises_them_by_itself(tmp_path: Path) -> None:
    assert codes(write_onnx(tmp_path / "m.onnx", float_weights=True), ONNX) == ["float-weight"]


def test_a_convolution_whose_output_is_not_quantised_did_not_fuse(tmp_path: Path) -> None:
    def bypass(graph: onnx.GraphProto) -> None:
        next(node for node in graph.node if node.op_type == "GlobalAveragePool").input[0] = "r"

    found = codes(edited(write_onnx(tmp_path / "m.onnx"), bypass), ONNX)

    assert "not-fused" in found


def test_weights_quantised_on_load_are_float_in_the_file(tmp_path: Path) -> None:
    def quantise_on_load(graph: onnx.GraphProto) -> None:
        replace(graph, "conv.stored", np.ones((4, 2, 3, 3), np.float32))
        node = onnx.helper.make_node(
            "QuantizeLinear", ["conv.stored", "conv.scales", "conv.zero_points"], ["conv.made"], axis=0
        )
        graph.node.insert(0, node)
        next(
            node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == "conv.stored"
        ).input[0] = "conv.made"

    found = findings(edited(write_onnx(tmp_path / "m.onnx"), quantise_on_load), ONNX)

    assert [finding.code for finding in found] == ["float-weight"]
    assert "each time the file is opened" in found[0].message


def test_one_scale_for_all_channels_and_a_zero_point_are_warned_of(tmp_path: Path) -> None:
    def flatten(graph: onnx.GraphProto) -> None:
        replace(graph, "conv.scales", np.array(0.005, np.float32))
        replace(graph, "conv.zero_points", np.array(3, np.int8))

    found = findings(edited(write_onnx(tmp_path / "m.onnx"), flatten), ONNX)

    assert {finding.code for finding in found} == {"weight-scales", "weight-zero"}
    assert {finding.severity for finding in found} == {"warning"}


def test_a_zero_point_that_two_weights_share_is_warned_of(tmp_path: Path) -> None:
    def share(graph: onnx.GraphProto) -> None:
        replace(graph, "conv.zero_points", np.array(0, np.int8))
        replace(graph, "conv.scales", np.array(0.005, np.float32))
        replace(graph, "dense.scales", np.array(0.015, np.float32))
        next(
            node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == "dense.stored"
        ).input[2] = "conv.zero_points"

    assert "shared-zero" in codes(edited(write_onnx(tmp_path / "m.onnx"), share), ONNX)


def test_unsigned_weights_are_found(tmp_path: Path) -> None:
    def unsign(graph: onnx.GraphProto) -> None:
        replace(graph, "conv.stored", np.full((4, 2, 3, 3), 130, np.uint8))
        replace(graph, "conv.zero_points", np.full(4, 128, np.uint8))

    assert "weight-type" in codes(edited(write_onnx(tmp_path / "m.onnx"), unsign), ONNX)


def test_a_fixed_batch_breaks_the_promise_of_an_open_one(tmp_path: Path) -> None:
    fixed, opened = write_onnx(tmp_path / "fixed.onnx", batch=1), write_onnx(tmp_path / "open.onnx")

    assert codes(fixed, ONNX) == ["batch"]
    assert codes(opened, Promises(dynamic_batch=False)) == ["batch"]


def test_transposes_between_operators_are_found(tmp_path: Path) -> None:
    found = findings(write_tflite(tmp_path / "m.tflite", transposed=True), TFLITE)

    assert [finding.code for finding in found] == ["stray-transpose"] * 2


def test_layers_left_in_float_by_wish_are_warnings(tmp_path: Path) -> None:
    found = findings(write_float_tflite(tmp_path / "m.tflite"), Promises(int8="some"))

    assert {finding.severity for finding in found} == {"warning"}


def test_errors_come_first(tmp_path: Path) -> None:
    found = findings(write_tflite(tmp_path / "m.tflite", transposed=True), Promises(int8="all", input_type="float32"))

    assert [finding.severity for finding in found] == ["error", "warning", "warning"]


def test_facts_count_what_runs(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    facts = judge_file(path).facts

    assert facts["float_operators"] == 0
    assert facts["operators"]["QLinearConv"] == 1
    assert facts["weight_bytes"] == {"int8": 72 + 12}
    assert facts["inputs"] == [
        {"name": "x", "dtype": "float32", "shape": [None, 2, 4, 4], "scale": None, "zero_point": None}
    ]


def test_a_file_that_onnx_runtime_refuses_is_one_line(tmp_path: Path) -> None:
    def break_it(graph: onnx.GraphProto) -> None:
        graph.node[0].op_type = "NoSuchOperator"

    path = edited(write_onnx(tmp_path / "m.onnx"), break_it)

    with pytest.raises(ModelError, match="ONNX Runtime refuses") as caught:
        fused_graph(path)
    assert "\n" not in str(caught.value)
    assert len(float_operators(read_graph(path))) > 0
