"""The operator tables say what the runtimes themselves do with files of one operator each."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import targets
from pipeline.errors import TargetError
from targets import known_tables, operators
from tests.one_operator import FORMS, one_operator

TYPES = ("float32", "int8", "uint8", "int16", "int32")
TABLES = Path(targets.__file__).parent / "operators"


def by_litert(op: str, dtype: str) -> str:
    content = one_operator(op, dtype)
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.ones(detail["shape"], detail["dtype"]))
        interpreter.invoke()
    except (RuntimeError, ValueError):
        return "refused"
    details = interpreter._get_ops_details()
    return "fast" if any(node["op_name"] == "DELEGATE" for node in details) else "runs"


def by_tflite_micro(op: str, dtype: str) -> bool:
    from tflite_micro.python.tflite_micro import runtime

    try:
        interpreter = runtime.Interpreter.from_bytes(one_operator(op, dtype), arena_size=2**18)
        for index, slot in enumerate(slot for slot in FORMS[op](dtype).inputs if slot.data is None):
            interpreter.set_input(np.ones(slot.shape, slot.dtype or dtype), index)
        interpreter.invoke()
    except RuntimeError:
        return False
    return True


def on_the_ethos_u(op: str, dtype: str, folder: Path) -> bool:
    from ethosu.vela import vela

    path = folder / f"{op}.tflite"
    path.write_bytes(one_operator(op, dtype))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        vela.main([str(path), "--accelerator-config", "ethos-u55-128", "--output-dir", str(folder)])
    found = re.search(r"CPU operators = (\d+)", said.getvalue())
    assert found is not None
    return found[1] == "0"


@pytest.mark.parametrize("name", known_tables())
def test_every_table_is_valid_and_tells_its_sources(name: str) -> None:
    table = operators(name)

    assert table.name == name
    assert table.operators
    assert all(source for source in table.sources.values())
    assert not any(known.fast & known.runs for known in table.operators.values())


@pytest.mark.parametrize("op", FORMS)
def test_litert_runs_an_operator_by_the_path_that_its_table_says(op: str) -> None:
    placed = {dtype: operators("litert").accepts(op, [dtype]) for dtype in TYPES}
    said = {dtype: placement if placement in ("fast", "runs") else "refused" for dtype, placement in placed.items()}

    assert said == {dtype: by_litert(op, dtype) for dtype in TYPES}


def test_tflite_micro_takes_an_operator_in_the_types_that_its_tables_say() -> None:
    for name in ("tflite-micro", "tflite-micro-esp-nn"):
        said = {
            (op, t): operators(name).accepts(op, [t]) in ("fast", "runs") for op in FORMS for t in ("float32", "int8")
        }
        wrong = [(op, t) for (op, t), takes in said.items() if by_tflite_micro(op, t) != takes]

        assert wrong == []


@pytest.mark.parametrize("op", ["CONV_2D", "SOFTMAX", "HARD_SWISH", "SQRT", "GATHER", "RESIZE_BILINEAR"])
def test_vela_places_an_int8_operator_as_its_table_says(op: str, tmp_path: Path) -> None:
    assert (operators("ethos-u").accepts(op, ["int8"]) == "fast") == on_the_ethos_u(op, "int8", tmp_path)


def test_onnx_runtime_has_the_kernels_that_its_table_says() -> None:
    import onnxruntime.capi.onnxruntime_pybind11_state as runtime

    registered = {kernel.op_name for kernel in runtime.get_all_opkernel_def() if "CPU" in kernel.provider}
    table = operators("onnxruntime-cpu")

    assert registered - set(table.operators) <= {"Optional"} | {name for name in registered if name.endswith("Grad")}
    assert table.accepts("Conv", ["float32"]) == "fast"
    assert table.accepts("Conv", ["int8"]) == "float-only"
    assert table.accepts("QLinearConv", ["uint8"]) == "fast"
    assert table.accepts("Loop", ["float32"]) == "fast"


def test_an_operator_falls_back_where_only_the_plain_kernel_takes_its_type() -> None:
    litert, npu = operators("litert"), operators("ethos-u")

    assert [litert.accepts("SOFTMAX", [dtype]) for dtype in ("float32", "int8")] == ["fast", "runs"]
    assert [litert.accepts("COS", [dtype]) for dtype in ("float32", "int8")] == ["fast", "float-only"]
    assert [npu.accepts("CONV_2D", [dtype]) for dtype in ("int8", "float32", "int64")] == [
        "fast",
        "runs",
        "unsupported",
    ]
    assert litert.accepts("FlexErf", ["float32"]) == "unsupported"


def test_an_unknown_table_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TargetError, match=r"no operator table 'lite-rt'; known: .*did you mean 'litert'\?"):
        operators("lite-rt")
