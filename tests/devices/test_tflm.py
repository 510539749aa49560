"""TensorFlow Lite Micro as a device: bytes of the arena, and a process that may abort without harm."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from devices import Request, open_device, tflm
from devices.sandbox import Finished
from devices.tflm import TfliteMicro, read_arena, why_not
from pipeline.errors import DeviceError, MissingExtraError, RefusedError
from targets import Fact, load_target
from tests.small_files import write_float_tflite, write_onnx, write_tflite


def test_the_arena_is_measured_with_its_head_and_tail(tmp_path: Path) -> None:
    models = [write_tflite(tmp_path / "m.tflite"), write_float_tflite(tmp_path / "float.tflite")]

    small, large = open_device("tflm").measure(models, Request())

    total, head, tail = small
    assert (total.quantity, total.unit, total.label) == ("arena", "B", "measured")
    assert total.value == head.value + tail.value
    assert 128 <= head.value < large[1].value  # a byte an activation, four in the float file: 32 + 64 at least
    assert "64-bit pointers" in total.how


def test_an_arena_larger_than_a_microcontrollers_memory_is_refused(tmp_path: Path) -> None:
    memory = load_target("raspberry-pi-4").memory.model_copy(update={"ram_kib": Fact(value=1, source="test")})
    board = load_target("raspberry-pi-4").model_copy(update={"kind": "microcontroller", "memory": memory})

    with pytest.raises(RefusedError, match="its arena takes 2 KiB, the device has 1 KiB of RAM"):
        open_device("tflm", board).measure([write_tflite(tmp_path / "m.tflite")], Request())
    assert open_device("tflm", board).machine != open_device("tflm").machine


def test_an_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"it runs \.tflite files"):
        open_device("tflm").measure([write_onnx(tmp_path / "m.onnx")], Request())


def test_what_the_interpreter_complains_of_is_told_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))

    with pytest.raises(RefusedError, match=r"tflm can't run broken.tflite: ") as caught:
        open_device("tflm").measure([broken], Request())
    assert "\n" not in str(caught.value)


def test_an_arena_that_is_too_small_for_the_interpreter_says_how_much_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflm, "ARENA_BYTES", 1200)

    with pytest.raises(RefusedError, match=r"(Failed to|[Rr]equested).*TFLM failed to allocate tensors"):
        open_device("tflm").measure([write_tflite(tmp_path / "m.tflite")], Request())


def test_an_interpreter_that_aborts_takes_nothing_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import os, sys; print('Hybrid models are not supported', file=sys.stderr, flush=True); os.abort()"
    )
    monkeypatch.setattr(tflm, "CHILD", child)

    with pytest.raises(RefusedError, match=r"Hybrid models are not supported \(it crashed with SIGABRT\)"):
        open_device("tflm").measure([write_tflite(tmp_path / "m.tflite")], Request())


def test_a_silent_crash_still_has_a_reason() -> None:
    assert why_not(Finished(-6, "", "", timed_out=False, seconds=1)) == "it crashed with SIGABRT"


def test_an_account_of_another_form_is_an_error_and_no_number() -> None:
    with pytest.raises(DeviceError, match="can't be read"):
        read_arena("Arena allocation total 12 bytes")


def test_it_is_named_alone_and_says_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="no device 'tflm:1'"):
        open_device("tflm:1")
    monkeypatch.setattr(tflm, "version", _not_installed)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgepress\[boards\]'"):
        open_device("tflm")


def test_only_a_microcontrollers_memory_bounds_the_arena() -> None:
    assert TfliteMicro("1", load_target("raspberry-pi-4")).machine == TfliteMicro("1", None).machine


def test_it_says_whether_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tflm.state().startswith("tflite-micro ")

    monkeypatch.setattr(tflm, "version", _not_installed)

    assert tflm.state() == "not installed: pip install 'edgepress[boards]'"


def _not_installed(name: str) -> str:
    raise PackageNotFoundError(name)
