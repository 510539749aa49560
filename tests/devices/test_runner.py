"""The file that goes onto a board, run as a board would run it."""

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from devices import runner
from devices.sandbox import explain, run_python
from tests.bench_files import write_open_tflite, write_pool_onnx
from tests.small_files import (
    INPUT,
    OUTPUT,
    samples,
    write_float_onnx,
    write_float_tflite,
    write_onnx,
    write_tflite,
)

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
    assert report["load_us"] > 0
    assert report["first_us"] == report["warmup_us"][0] > 0
    assert 0 < report["model_peak_kib"] < report["peak_rss_kib"]
    assert set(report["before"]) == {"governor", "freq_khz", "temp_mc", "throttled", "loadavg"}


def test_a_neighbour_on_the_same_core_is_told(tmp_path: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    model = [
        "--model",
        str(write_onnx(tmp_path / "m.onnx")),
        "--cores",
        core,
        "--min-seconds",
        "0.6",
        "--max-runs",
        "100000",
    ]
    spinning = subprocess.Popen(
        [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"]
    )
    try:
        done = run_python(RUNNER, model)
    finally:
        spinning.kill()
        spinning.wait()

    report = json.loads(done.stdout)
    assert 0 < report["others_on_ours"] <= 1
    assert report["others_on_ours"] == pytest.approx(1 - report["cpu_over_wall"], abs=0.2)  # the core was never idle


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


def test_it_measures_on_given_samples_in_turn(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=samples(3))
    model = write_onnx(tmp_path / "m.onnx")

    done = run_python(RUNNER, ["--model", str(model), "--inputs", str(tmp_path / "x.npz"), *SHORT, "--max-runs", "10"])

    report = json.loads(done.stdout)
    assert len(report["samples_us"]) == 10
    answers = _answer(model, tmp_path / "x.npz")
    assert report["output_sha256"] == hashlib.sha256(answers[9 % 3].tobytes()).hexdigest()  # the tenth run's


def test_samples_of_another_form_are_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=samples(2)[0])

    done = run_python(
        RUNNER, ["--model", str(write_onnx(tmp_path / "m.onnx")), "--inputs", str(tmp_path / "x.npz"), *SHORT]
    )

    assert "the .npz's 'x' is [2, 4, 4]; the model takes samples [N, 2, 4, 4], 1 a run" in explain(done)


def test_a_fixed_batch_takes_as_many_samples_a_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=samples(6))

    by_two = _answer(write_onnx(tmp_path / "two.onnx", batch=2), tmp_path / "x.npz")
    by_one = _answer(write_onnx(tmp_path / "one.onnx"), tmp_path / "x.npz")

    np.testing.assert_array_equal(by_one, by_two)


def test_a_slow_model_ends_by_the_longest_time_with_fewer_runs(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")

    done = run_python(
        RUNNER, ["--model", str(model), "--min-runs", "1000", "--warmup-seconds", "0", "--max-seconds", "0"]
    )

    assert len(json.loads(done.stdout)["samples_us"]) == 1


def test_an_open_size_that_is_no_batch_must_be_given(tmp_path: Path) -> None:
    model = write_pool_onnx(tmp_path / "m.onnx")

    without = run_python(RUNNER, ["--model", str(model), *SHORT])
    given = run_python(RUNNER, ["--model", str(model), "--shape", "x=1x2x5x7", *SHORT])

    assert "input 'x' is [batch, 2, height, width]; give its open sizes with --shape x=1x2xNxN" in explain(without)
    assert given.ok


def test_a_tflite_file_is_resized_to_the_given_shape(tmp_path: Path) -> None:
    model = write_open_tflite(tmp_path / "m.tflite")

    without = run_python(RUNNER, ["--model", str(model), *SHORT])
    given = run_python(RUNNER, ["--model", str(model), "--shape", "x=1x9x2", *SHORT])
    wrong = run_python(RUNNER, ["--model", str(model), "--shape", "x=1x9x3", *SHORT])

    assert "input 'x' is [1, -1, 2]; give its open sizes with --shape x=1xNx2" in explain(without)
    assert given.ok
    assert "Attempting to resize dimension 2 of tensor" in explain(wrong)


def test_onnx_runtime_writes_what_each_node_took(tmp_path: Path) -> None:
    model = write_float_onnx(tmp_path / "m.onnx")

    done = run_python(RUNNER, ["--model", str(model), "--profile", str(tmp_path / "times"), *SHORT])

    assert done.ok
    [written] = tmp_path.glob("times*.json")
    events = json.loads(written.read_text(encoding="utf-8"))
    assert {"Conv", "Gemm"} <= {event["args"].get("op_name") for event in events if event["cat"] == "Node"}


def test_an_open_batch_is_1_unless_a_shape_is_given(tmp_path: Path) -> None:
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


def test_onnxruntime_tells_its_maker_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))

    done = run_python(RUNNER, ["--model", str(write_onnx(tmp_path / "m.onnx")), *SHORT])

    assert done.ok
    assert list(home.iterdir()) == []
