"""Forecasts: a small file whose needs are counted by hand, against targets that are made to have just enough or too little."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import ModelError
from pipeline.forecast import Forecast, forecast, to_text
from targets import Fact, Memory, Target, load_target
from tests import small_files

PRODUCTS = 2 * 9 * 4 * 16 + 4 * 3  # the convolution's 4 outputs a place on 4x4, and 4 to 3
PEAK_INT8 = 2 * 16 + 4 * 16  # the image and what the convolution makes of it live at once, a byte each


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_files.write_tflite(tmp_path_factory.mktemp("models") / "small.tflite")


def with_memory(target: Target, **sizes: int) -> Target:
    """Return a target with these memories in KiB and no others."""
    memory = {name: Fact(value=value, source=next(iter(target.sources))) for name, value in sizes.items()}
    return target.model_copy(update={"memory": Memory(**memory)})


def write_wide_onnx(path: Path) -> Path:
    """Write a sum over 1024 floats: an addition and a ReLU of so many, of which two live at once."""
    weight = numpy_helper.from_array(np.ones((1, 1024), np.float32), "w")
    nodes = [
        helper.make_node("Add", ["x", "w"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept"], ["y"], keepdims=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])
    graph = helper.make_graph(nodes, "wide", [x], [y], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_needs_are_counted_and_told_apart_as_exact_and_estimated(small: Path) -> None:
    found = forecast(small, load_target("nucleo-l4r5zi"))
    file, activations = found.lines

    assert found.fits
    assert found.macs == PRODUCTS
    assert (file.needs, file.has, file.label) == (small.stat().st_size, 2048 * 1024, "exact")
    assert (activations.needs, activations.has, activations.label) == (PEAK_INT8, 640 * 1024, "estimated")
    assert [(each.code, each.severity) for each in found.operators] == [("falls-back", "note")]


def test_a_file_larger_than_the_flash_and_activations_larger_than_a_block_do_not_fit(tmp_path: Path) -> None:
    wide = write_wide_onnx(tmp_path / "wide.onnx")
    board = load_target("nucleo-l4r5zi")
    takes_onnx = board.model_copy(update={"runtimes": load_target("pixel-8").runtimes})

    scarce = forecast(wide, with_memory(takes_onnx, ram_kib=640, ram_block_kib=2, flash_kib=1))
    enough = forecast(wide, with_memory(takes_onnx, ram_kib=640, ram_block_kib=8, flash_kib=8))

    assert [line.needs for line in scarce.lines] == [wide.stat().st_size, 2 * 1024 * 4]
    assert [line.fits for line in scarce.lines] == [False, False]
    assert not scarce.fits
    assert [line.fits for line in enough.lines] == [True, True]
    assert "too much" in to_text(scarce, model=Path("m"), target="t")
    assert "too much" not in to_text(enough, model=Path("m"), target="t")


def test_what_is_not_published_is_neither_enough_nor_too_little(small: Path) -> None:
    found = forecast(small, load_target("corstone-300"))

    assert found.lines[0].has is None
    assert found.lines[0].fits is None
    assert found.fits
    assert "not published" in to_text(found, model=Path("m"), target="t")


def test_weights_and_activations_share_the_memory_of_a_phone(small: Path) -> None:
    found = forecast(small, load_target("pixel-8"))

    assert [(line.what, line.needs) for line in found.lines] == [
        ("weights and activations", small.stat().st_size + PEAK_INT8)
    ]


def test_a_file_of_the_wrong_format_does_not_fit_whatever_its_size(tmp_path: Path) -> None:
    found = forecast(small_files.write_onnx(tmp_path / "small.onnx"), load_target("nucleo-l4r5zi"))

    assert not found.fits
    assert [finding.code for finding in found.operators] == ["wrong-format"]


def test_operators_that_leave_the_accelerator_are_told_with_their_share_of_the_products(tmp_path: Path) -> None:
    floats = small_files.write_float_tflite(tmp_path / "float.tflite")

    found = forecast(floats, load_target("corstone-300"))

    told = [finding.message for finding in found.operators]
    shares = [float(text.rsplit(": ", 1)[1].split("%")[0]) for text in told if "multiply-accumulates" in text]
    assert all("Ethos-U55" in text for text in told)
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_weights_in_another_file_count_whether_or_not_their_length_is_told(tmp_path: Path) -> None:
    path = write_wide_onnx(tmp_path / "beside.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="beside.bin", size_threshold=0)
    beside = (tmp_path / "beside.bin").stat().st_size + 8 * 1024
    size_with_length, with_length = path.stat().st_size, forecast(path, load_target("pixel-8")).lines[0]
    stripped = onnx.load(path, load_external_data=False)
    data = stripped.graph.initializer[0].external_data
    kept = [entry for entry in data if entry.key == "location"]
    del data[:]
    data.extend(kept)
    path.write_bytes(stripped.SerializeToString())

    assert with_length.needs == size_with_length + beside
    assert forecast(path, load_target("pixel-8")).lines[0].needs == path.stat().st_size + beside


def test_a_forecast_is_json_that_says_its_verdict(small: Path) -> None:
    record = json.loads(json.dumps(forecast(small, load_target("nucleo-l4r5zi")).to_json()))

    assert record["fits"] is True
    assert [line["fits"] for line in record["lines"]] == [True, True]
    assert record["measured_with"] == ["tflm"]


def test_an_error_among_the_operators_alone_is_enough_to_not_fit(small: Path) -> None:
    found = forecast(small, load_target("nucleo-l4r5zi"))
    broken = replace(found, operators=tuple(replace(finding, severity="error") for finding in found.operators))

    assert isinstance(broken, Forecast)
    assert not broken.fits


@pytest.mark.parametrize(
    ("name", "content"), [("empty.tflite", b""), ("noise.onnx", bytes(range(256))), ("none.onnx", None)]
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelError) as caught:
        forecast(path, load_target("pixel-8"))
    assert "\n" not in str(caught.value)
