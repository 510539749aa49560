"""Which files of a run a device measures: those that it takes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from devices import Measurement, Request
from devices.layer_times import LayerTime, shared
from pipeline.errors import DeviceError, RefusedError
from pipeline.measure import _layers_told, _named, _places, _taken, _thread_counts
from pipeline.store import Store
from targets import load_target
from tests.pipeline.test_bench import Recorded
from tests.small_files import write_onnx, write_tflite


class TfliteOnly(Recorded):
    """A device that takes no ONNX."""

    threaded = False

    def runtime(self, model: Path) -> tuple[str, str]:
        if model.suffix == ".onnx":
            raise RefusedError(f"it can't take {model.name}", model)
        return "tflite", "1"


class Broken(Recorded):
    """A device that fails."""

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        raise DeviceError(f"out of order: {len(models)} files, {request.threads} threads")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    onnx, tflite = write_onnx(tmp_path / "m.onnx"), write_tflite(tmp_path / "m.tflite")
    return {"int8 onnx": onnx, "same": onnx, "int8 tflite": tflite}


def test_what_a_device_refuses_is_said_and_left_out(tmp_path: Path, paths: dict[str, Path]) -> None:
    said: list[str] = []

    taken = _taken(paths, TfliteOnly(), Request(), Store(tmp_path / "store"), fresh=False, say=said.append)

    assert list(taken) == ["int8 tflite"]
    assert said == ["int8 onnx, same: it can't take m.onnx"]


def test_a_device_that_fails_ends_the_run(tmp_path: Path, paths: dict[str, Path]) -> None:
    with pytest.raises(DeviceError, match="out of order"):
        _taken(paths, Broken(), Request(), Store(tmp_path / "store"), fresh=False, say=print)


def test_a_board_is_asked_for_its_own_cores_and_what_knows_no_threads_for_one() -> None:
    target = load_target("raspberry-pi-4")

    assert _thread_counts(Recorded(), target) == [1, 4]
    assert _thread_counts(TfliteOnly(), target) == [1]


def test_a_host_that_is_named_for_a_target_stays_the_host(tmp_path: Path, paths: dict[str, Path]) -> None:
    target, said = load_target("raspberry-pi-4"), list[str]()

    assert [name for name, _ in _places(target, "host", said.append)] == ["host"]
    assert said == ["--device host is measured anyway, and never judges raspberry-pi-4"]
    [[measured, *_], *_] = Recorded().measure([paths["same"]], Request())
    for device, name in (("pi", "raspberry-pi-4"), ("host", "host"), ("replay of host", "replay of host")):
        assert _named("raspberry-pi-4", replace(measured, device=device)) == name
    recording = tmp_path / "host.json"
    recording.write_text(json.dumps(replace(measured, device="host").to_json()), encoding="utf-8")
    places = dict(_places(target, f"pool:replay:{recording}", said.append))
    assert list(places) == ["host", "raspberry-pi-4"]
    [[pooled, *_]] = places["raspberry-pi-4"].measure([paths["same"]], Request())
    assert _named("raspberry-pi-4", pooled) == "replay of host"


class Layered(TfliteOnly):
    """A device that tells layers of TFLite files, unless it is broken."""

    name = "layered"
    broken = False

    def layers(self, model: Path, _request: Request) -> tuple[LayerTime, ...]:
        if self.broken:
            raise DeviceError("its account can't be read")
        return shared([("CONV_2D", model.name, 3.0, "cycles"), ("MEAN", "mean", 1.0, "cycles")])


@pytest.mark.parametrize(
    ("broken", "told"),
    [(False, ["timed 2 layers of int8 tflite on t"]), (True, ["no times of layers: its account can't be read"])],
)
def test_layers_are_told_of_what_a_device_takes_and_a_broken_account_is_said(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch, told: list[str], *, broken: bool
) -> None:
    said: list[str] = []
    device = Layered()
    monkeypatch.setattr(device, "broken", broken)

    found = list(_layers_told(paths, "t", device, said.append))

    assert said == told
    assert [(times.file, times.device, times.label, times.layers[0].share) for times in found] == (
        [] if broken else [("int8 tflite", "t", "estimated", 0.75)]
    )
