"""What each operator takes, by the host's runtime and by Arm's compiler."""

import json
from pathlib import Path

import pytest

from devices import QUICK
from devices.host import Host
from devices.layer_times import LayerTime, caveat, read_profile
from devices.vela import Vela
from pipeline.errors import DeviceError, RefusedError
from tests.bench_files import write_wide_onnx
from tests.devices.test_vela import accelerator
from tests.small_files import write_tflite


def test_onnx_runtime_tells_what_each_node_takes(tmp_path: Path) -> None:
    layers = Host().layers(write_wide_onnx(tmp_path / "m.onnx", 8, layers=2), QUICK)

    convolutions = [layer for layer in layers if "Conv" in layer.operator]
    assert len(convolutions) == 2
    assert all(layer.value > 0 and layer.unit == "us" for layer in convolutions)
    assert sum(layer.share for layer in layers) == pytest.approx(1)


def test_litert_tells_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="times no layers"):
        Host().layers(write_tflite(tmp_path / "m.tflite"), QUICK)


def test_arms_compiler_tells_cycles(tmp_path: Path) -> None:
    layers = Vela(accelerator(), "5.2.0").layers(write_tflite(tmp_path / "m.tflite"), QUICK)

    assert [layer.operator for layer in layers][:1] == ["Conv2D"]
    assert {layer.unit for layer in layers} == {"cycles"}


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"cat": "Node", "name": "a_kernel_time"}]', "[" * 10**5])
def test_a_broken_profile_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "times.json").write_text(content, encoding="utf-8")

    with pytest.raises(DeviceError, match="profile can't be read"):
        read_profile(tmp_path / "times.json")


def test_runs_are_told_by_their_median_and_names_print(tmp_path: Path) -> None:
    event = {"cat": "Node", "name": "a\n\x1b[1m_kernel_time", "args": {"op_name": "Conv"}}
    events = [{**event, "dur": taken} for taken in (900, 1, 3)] + [{"cat": "Session", "name": "b", "dur": 1}]
    (tmp_path / "times.json").write_text(json.dumps(events), encoding="utf-8")

    [layer] = read_profile(tmp_path / "times.json")

    assert (layer.name, layer.value, layer.share) == ("a[1m", 3, 1)


def test_what_the_profile_itself_takes_is_said_beside_its_times_and_beside_no_count() -> None:
    times = [LayerTime("Conv", "a", 11.0, "us", 0.85), LayerTime("Squeeze", "b", 2.0, "us", 0.15)]

    assert "with its own time in each operator (2 us in the quickest)" in caveat(times)
    assert caveat([LayerTime("Conv2D", "a", 900.0, "cycles", 1.0)]) == ""
    assert caveat([]) == ""
