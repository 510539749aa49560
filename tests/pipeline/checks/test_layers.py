"""Where two forms of one network part: files made to differ in one place, and a torch program against its own files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.checks.exposed import inner_tensors
from pipeline.checks.graph import read_graph
from pipeline.checks.layers import Activation, activations_of, compare_layers, first_divergence
from pipeline.errors import ModelError
from tests.small_files import samples, weights, write_float_onnx, write_onnx, write_tflite


def both(first: Path, second: Path, count: int) -> tuple[list[Activation], list[Activation]]:
    return activations_of(first, [samples(count)]), activations_of(second, [samples(count)])


def test_equal_files_are_equal_in_every_layer(tmp_path: Path) -> None:
    layers = compare_layers(*both(write_onnx(tmp_path / "m.onnx"), write_tflite(tmp_path / "m.tflite"), 16))

    assert [layer.operator for layer in layers] == ["input", "CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert all(layer.equal == 1.0 and layer.max_lsb == 0 for layer in layers)


def test_transposes_do_not_hide_that_layers_are_equal(tmp_path: Path) -> None:
    files = write_onnx(tmp_path / "m.onnx"), write_tflite(tmp_path / "m.tflite", transposed=True)

    assert first_divergence(*both(*files, 4)) is None


@pytest.mark.parametrize(("part", "operator", "name"), [("conv", "CONV_2D", "conv"), ("dense", "FULLY_CONNECTED", "y")])
def test_the_first_layer_that_differs_is_named(tmp_path: Path, part: str, operator: str, name: str) -> None:
    changed = getattr(weights(), part).copy()
    changed[0] = 127
    other = write_tflite(tmp_path / "m.tflite", made_of=replace(weights(), **{part: changed}))

    layer = first_divergence(*both(write_onnx(tmp_path / "m.onnx"), other, 4))

    assert layer is not None
    assert (layer.operator, layer.second) == (operator, name)
    assert layer.equal < 1
    assert layer.max_lsb >= 1


def test_a_float_file_has_no_layer_to_compare(tmp_path: Path) -> None:
    path = write_float_onnx(tmp_path / "m.onnx")

    assert inner_tensors(read_graph(path)) == ()
    assert compare_layers(*both(path, write_tflite(tmp_path / "m.tflite"), 2)) == []


def test_the_wrong_number_of_inputs_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes 1 inputs, 2 were given"):
        activations_of(write_onnx(tmp_path / "m.onnx"), [samples(2), samples(2)])


def test_a_layer_further_apart_than_one_step_is_named_before_one_that_may_be_rounding() -> None:
    zeros = np.zeros((2, 3), np.int8)
    first = [Activation(name, "conv", 0.5, number, zeros) for number, name in enumerate("abc")]
    second = [replace(activation, values=zeros + step) for activation, step in zip(first, (0, 1, 5), strict=True)]

    layer = first_divergence(first, [replace(other, values=other.values.astype(np.int8)) for other in second])

    assert layer is not None
    assert (layer.first, layer.max_lsb) == ("c", 5)


def test_a_transpose_back_to_channels_first_before_a_flattening_is_no_difference() -> None:
    values = np.arange(4 * 6 * 5, dtype=np.int8).reshape(4, 6, 5)
    first = [Activation("squeeze", "squeeze", 0.5, 0, values)]
    second = [Activation("t", "TRANSPOSE", 0.5, 0, values.reshape(4, 6, 5, 1))]

    assert first_divergence(first, second) is None
