from pathlib import Path

import numpy as np
import pytest

from pipeline.checks.answers import Port, open_file
from pipeline.errors import ModelError
from tests.small_files import write_float_onnx, write_float_tflite, write_onnx, write_tflite


def pictures(count: int) -> np.ndarray:
    """Inputs [count, 2, 4, 4] on the grid of the files' input scale, 0.02."""
    random = np.random.default_rng(0)
    return (random.integers(-100, 100, (count, 2, 4, 4)) * 0.02).astype(np.float32)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_both_formats_answer_alike_whatever_their_batch_and_layout(tmp_path: Path, count: int) -> None:
    write_float_onnx(tmp_path / "model.onnx")
    write_float_tflite(tmp_path / "model.tflite")
    (onnx,) = open_file(tmp_path / "model.onnx").answer([pictures(count)])
    (tflite,) = open_file(tmp_path / "model.tflite").answer([pictures(count)])

    assert onnx.shape == (count, 3)
    assert onnx.dtype == np.float32
    np.testing.assert_allclose(onnx, tflite, atol=1e-5)


def test_integer_files_take_and_give_floats_on_their_own_grid(tmp_path: Path) -> None:
    write_onnx(tmp_path / "model.onnx")
    write_tflite(tmp_path / "model.tflite")
    (onnx,) = open_file(tmp_path / "model.onnx").answer([pictures(6)])
    opened = open_file(tmp_path / "model.tflite")
    (tflite,) = opened.answer([pictures(6)])
    scale = opened.outputs[0].scale or 0.0

    assert scale == pytest.approx(0.01)
    np.testing.assert_allclose(tflite / scale, np.rint(tflite / scale), atol=1e-3)
    np.testing.assert_allclose(onnx, tflite, atol=1.01 * scale)


def test_quantising_rounds_to_even_and_saturates() -> None:
    port = Port("x", (0, 5), "int8", scale=1.0, zero_point=3)

    assert port.takes(np.array([[0.5, 1.5, -1000, 1000, -0.5]], np.float32)).tolist() == [[3, 5, -128, 127, 3]]
    assert port.gives(np.array([[3, 5]], np.int8)).tolist() == [[0.0, 2.0]]


def test_samples_of_another_shape_are_refused(tmp_path: Path) -> None:
    write_float_onnx(tmp_path / "model.onnx")

    with pytest.raises(ModelError, match=r"samples are \[2, 5, 5\]"):
        open_file(tmp_path / "model.onnx").answer([np.zeros((1, 2, 5, 5), np.float32)])


def test_a_wrong_number_of_inputs_is_refused(tmp_path: Path) -> None:
    write_float_onnx(tmp_path / "model.onnx")

    with pytest.raises(ModelError, match="takes 1 inputs, the task's samples have 2"):
        open_file(tmp_path / "model.onnx").answer([pictures(1), pictures(1)])


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"model.{suffix}").write_bytes(b"rubbish" * 10)

    with pytest.raises(ModelError, match="can't be opened"):
        open_file(tmp_path / f"model.{suffix}")
