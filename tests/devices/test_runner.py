"""The file that goes onto a board, run as a board would run it."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from devices import runner
from devices.sandbox import explain, run_python
from tests.small_files import INPUT, OUTPUT, samples, write_float_onnx, write_float_tflite, write_onnx, write_tflite

RUNNER = Path(runner.__file__)
SHORT = ["--warmup-seconds", "0.01", "--min-seconds", "0.01", "--min-runs", "10"]


def test_it_imports_nothing_of_ours_and_nothing_that_a_board_lacks() -> None:
    tree = ast.parse(RUNNER.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in names}

    assert roots - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime"}


@pytest.mark.parametrize(
    ("write", "runtime"), [(write_onnx, "onnxruntime"), (write_tflite, "litert"), (write_float_tflite, "litert")]
)
def test_it_measures_and_prints_one_line_of_json(tmp_path: Path, write: object, runtime: str) -> None:
    model = write(tmp_path / "m")  # type: ignore[operator]  # each writer takes a path

    done = run_python(RUNNER, ["--model", str(model), "--cores", "0", *SHORT])

    report = json.loads(done.stdout)
    assert (report["runtime"], report["schema"], report["threads"], report["cores"]) == (runtime, 1, 1, [0])
    assert len(report["samples_us"]) >= 10
    assert min(report["samples_us"]) > 0
    assert report["cpu_over_wall"] > 0
    assert set(report["before"]) == {"governor", "freq_khz", "temp_mc", "throttled", "loadavg"}


def test_given_inputs_are_answered_alike_by_both_runtimes(tmp_path: Path) -> None:
    x = samples(16)
    stored = (np.round(x / np.float32(INPUT[0])) + INPUT[1]).astype(np.int8).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "stored.npz", stored)

    by_onnx = _answer(write_onnx(tmp_path / "m.onnx"), tmp_path / "x.npz")
    by_tflite = _answer(write_tflite(tmp_path / "m.tflite"), tmp_path / "stored.npz")

    assert by_onnx.shape == (16, 3)
    assert len(np.unique(by_tflite)) > 10
    np.testing.assert_array_equal(np.round(by_onnx / np.float32(OUTPUT[0])) + OUTPUT[1], by_tflite)


def test_an_open_size_is_1_unless_a_shape_is_given(tmp_path: Path) -> None:
    model = write_float_onnx(tmp_path / "m.onnx")

    wrong = run_python(RUNNER, ["--model", str(model), "--shape", "y=2x2x4x4", *SHORT])
    right = run_python(RUNNER, ["--model", str(model), "--shape", "x=2x2x4x4", *SHORT])

    assert "no input 'y'; known: x" in explain(wrong)
    assert right.ok


def test_inputs_of_other_names_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", other=samples(2))

    done = run_python(
        RUNNER,
        [
            "--model",
            str(write_onnx(tmp_path / "m.onnx")),
            "--inputs",
            str(tmp_path / "x.npz"),
            "--outputs",
            str(tmp_path / "y.npz"),
        ],
    )

    assert "the .npz holds other; the model takes x" in explain(done)


def test_pickled_inputs_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], dtype=object))

    done = run_python(
        RUNNER,
        [
            "--model",
            str(write_onnx(tmp_path / "m.onnx")),
            "--inputs",
            str(tmp_path / "x.npz"),
            "--outputs",
            str(tmp_path / "y.npz"),
        ],
    )

    assert not done.ok
    assert "allow_pickle=False" in done.stderr


def _answer(model: Path, inputs: Path) -> np.ndarray:
    outputs = model.with_suffix(".npz")
    done = run_python(RUNNER, ["--model", str(model), "--inputs", str(inputs), "--outputs", str(outputs)])
    assert done.ok, done.stderr
    with np.load(outputs, allow_pickle=False) as file:
        answers: np.ndarray = file["arr_0"]
    return answers
