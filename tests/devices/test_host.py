"""This machine as a device."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import QUICK, Measurement, host
from devices.host import Host
from devices.turns import read_turn, runner_arguments
from pipeline.errors import DeviceError
from tests.bench_files import write_endless_onnx, write_greedy_onnx
from tests.small_files import samples, write_onnx, write_tflite


def test_several_files_are_measured_in_turns(tmp_path: Path) -> None:
    models = [write_onnx(tmp_path / "m.onnx"), write_tflite(tmp_path / "m.tflite")]

    measured = [each[0] for each in Host().measure(models, QUICK)]

    assert [measurement.runtime for measurement in measured] == ["onnxruntime", "litert"]
    assert all(measurement.label == "measured" and measurement.processes == QUICK.processes for measurement in measured)
    assert all(measurement.low <= measurement.value <= measurement.high for measurement in measured)
    assert measured[0].together == measured[1].together == tuple(measurement.model_sha256 for measurement in measured)
    assert all(measurement.samples >= 2 * QUICK.min_runs for measurement in measured)


def test_loading_the_first_inference_and_memory_stand_beside_the_steady_latency(tmp_path: Path) -> None:
    [measured] = Host().measure([write_onnx(tmp_path / "m.onnx")], QUICK)

    latency, load, first, memory = measured
    assert [each.quantity for each in measured] == ["latency", "load", "first inference", "peak memory"]
    assert load.value > first.value > latency.value > 0
    assert (memory.unit, memory.value > 0) == ("KiB", True)
    assert all(each.how and each.samples == len(each.process_medians) == QUICK.processes for each in measured[1:])


def test_a_board_that_does_not_tell_the_peak_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_turn", lambda model, _: read_turn(_report(), model))

    assert [each.quantity for each in Host().measure([tmp_path / "m"], QUICK)[0]] == ["latency"]


def test_given_inputs_are_what_is_measured(tmp_path: Path) -> None:
    np.savez(tmp_path / "right.npz", x=samples(2))
    np.savez(tmp_path / "x.npz", other=samples(2))
    right = replace(QUICK, processes=1, inputs=str(tmp_path / "right.npz"))

    assert Host().measure([write_onnx(tmp_path / "m.onnx")], right)[0][0].samples >= QUICK.min_runs
    with pytest.raises(DeviceError, match=r"the \.npz holds other; the model takes x"):
        Host().measure([write_onnx(tmp_path / "m.onnx")], replace(QUICK, inputs=str(tmp_path / "x.npz")))
    with pytest.raises(DeviceError, match="can't be given the inputs"):
        runner_arguments("m.onnx", replace(QUICK, inputs="x.npz"), cores=[0])


@pytest.mark.parametrize(
    ("write", "why"),
    [(write_endless_onnx, "stopped after"), (write_greedy_onnx, "bad_alloc|Failed to allocate|MemoryError")],
)
def test_a_model_that_hangs_or_eats_memory_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path], why: str
) -> None:
    monkeypatch.setattr(host, "wall_seconds", lambda _: 4.0)

    with pytest.raises(DeviceError, match=why) as caught:
        Host().measure([write(tmp_path / "m.onnx")], QUICK)
    assert "\n" not in str(caught.value)


def test_turns_alternate_and_reverse_so_that_no_file_is_always_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def turn(model: Path, _: object) -> object:
        order.append(model.name)
        return read_turn(_report(), model)

    monkeypatch.setattr(host, "_turn", turn)

    Host().measure([tmp_path / "a", tmp_path / "b"], replace(QUICK, processes=3))

    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_busy_machine_is_tried_again_and_then_makes_the_measurement_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([0.33, 0.5, 1.0])
    monkeypatch.setattr(host, "_turn", lambda model, _: read_turn(_report(next(shares)), model))

    [(measurement, *_)] = Host().measure([tmp_path / "m.onnx"], QUICK)

    assert not measurement.valid
    assert measurement.why_invalid == "the machine was busy in 1 of 2 processes: it got 50% of the processor"


def test_busy_neighbours_make_a_measurement_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_turn", lambda model, _: read_turn(_report(neighbours=0.9), model))

    [(measurement, *_)] = Host().measure([tmp_path / "m.onnx"], QUICK)

    assert (
        measurement.why_invalid
        == "the machine was busy in 2 of 2 processes: the other cores were at work 90% of the time"
    )


def test_others_on_the_cores_of_several_threads_make_a_measurement_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_turn", lambda model, _: read_turn(_report(1.2, others=0.4), model))

    [(measurement, *_)] = Host().measure([tmp_path / "m.onnx"], replace(QUICK, threads=2))

    assert measurement.why_invalid == "the machine was busy in 2 of 2 processes: others took 40% of its cores"


def test_a_process_disturbed_once_is_replaced_by_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = iter([0.33, 1.0, 1.0])
    monkeypatch.setattr(host, "_turn", lambda model, _: read_turn(_report(next(shares)), model))

    assert Host().measure([tmp_path / "m.onnx"], QUICK)[0][0].valid


def test_a_measurement_survives_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_turn", lambda model, _: read_turn(_report(), model))
    [(measurement, *_)] = Host().measure([tmp_path / "m.onnx"], QUICK)

    assert Measurement.from_json(measurement.to_json()) == measurement
    with pytest.raises(DeviceError, match="--fresh"):
        Measurement.from_json({"model": "m"})


def test_a_file_whose_name_looks_like_an_option_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tflite(tmp_path / "--help.tflite")

    assert Host().measure([Path("--help.tflite")], replace(QUICK, processes=1))[0][0].value > 0


def test_a_file_that_does_not_run_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))

    with pytest.raises(DeviceError, match=r"host can't run broken.tflite: it ") as caught:
        Host().measure([broken], QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "hello", "{}", '{"samples_us": "x"}', "[1]"])
def test_a_broken_report_is_an_error_and_no_number(text: str) -> None:
    with pytest.raises(DeviceError, match="report is broken"):
        read_turn(text, Path("m"))


@pytest.mark.parametrize("samples", [[], [0.0], [-1.0], [float("inf")]])
def test_timings_that_cannot_be_are_refused(samples: list[float]) -> None:
    with pytest.raises(DeviceError, match="no timings"):
        read_turn(_report(samples=samples), Path("m"))


def test_the_runtime_is_known_before_anything_runs(tmp_path: Path) -> None:
    assert Host().runtime(write_tflite(tmp_path / "m.tflite"))[0] == "litert"
    assert Host().runtime(write_onnx(tmp_path / "m.onnx"))[0] == "onnxruntime"


def test_it_says_which_runtimes_it_has() -> None:
    assert "onnxruntime 1." in host.state()
    assert "ai-edge-litert 2." in host.state()


def _report(
    share: float = 1.0, samples: list[float] | None = None, neighbours: float | None = None, others: float | None = None
) -> str:
    given = [10.0, 11.0, 12.0] if samples is None else samples
    names = {"runtime": "r", "runtime_version": "1", "model_sha256": "0"}
    disturbed = {"cpu_over_wall": share, "neighbours_busy": neighbours, "others_on_ours": others}
    return json.dumps({"samples_us": given, **disturbed, **names})
