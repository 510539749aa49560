"""The emulated core: what it refuses, and in the slow tests what it counts and answers.

The slow ones need the set-up, which `make test-slow` runs; by hand: `edgepress devices --setup qemu`.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import QUICK, Measurement, open_device, tells_latency
from devices.arm.counts import CLASSES
from devices.arm.userland import Userland, expected
from devices.qemu import Qemu, connect
from devices.sandbox import run_python
from devices.turns import RUNNER
from pipeline.bench import compare
from pipeline.errors import DeviceError, RefusedError
from targets import Target, load_target
from tests.small_files import INPUT, OUTPUT, samples, write_float_tflite, write_onnx, write_tflite
from tests.wide_files import write_wide_tflite

ONCE = replace(QUICK, processes=1)
TARGETS = {"a53": "raspberry-pi-3b-plus", "a72": "raspberry-pi-4", "a76": "raspberry-pi-5"}


def emulated(name: str) -> Qemu:
    device = open_device("qemu", load_target(name))
    assert isinstance(device, Qemu)
    return device


def unready(name: str) -> Qemu:
    """Return a device whose userland was never set up: enough for what needs no guest."""
    target = load_target(name)
    assert target.emulation is not None
    return Qemu(target, target.emulation, Userland(Path("/nonexistent/qemu-0")))


def without(target: Target, **parts: None) -> Target:
    return target.model_copy(update=parts)


def by_name(measured: tuple[Measurement, ...]) -> dict[str, Measurement]:
    return {each.quantity: each for each in measured}


def answers_of_both(device: Qemu, model: Path, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the emulated core and the host answer to the same inputs."""
    given, outputs = model.with_name("x.npz"), {name: model.with_name(f"{name}.npz") for name in ("arm", "host")}
    np.savez(given, inputs)
    device.answers(model, given, outputs=outputs["arm"])
    host = ["--model", str(model), "--inputs", str(given), "--outputs", str(outputs["host"])]
    assert run_python(RUNNER, host).ok
    with np.load(outputs["arm"]) as arm, np.load(outputs["host"]) as answered:
        return arm["arr_0"], answered["arr_0"]


def test_it_needs_a_target() -> None:
    with pytest.raises(DeviceError, match=r"qemu needs a target; name one .*raspberry-pi-4, "):
        connect("qemu", None)


def test_a_target_that_qemu_cannot_stand_in_for_is_told_with_those_that_it_can() -> None:
    target = without(load_target("raspberry-pi-4"), emulation=None)

    with pytest.raises(DeviceError, match=r"no \[emulation\]; it can for .*raspberry-pi-5"):
        connect("qemu", target)


def test_it_names_the_set_up_when_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path))

    with pytest.raises(DeviceError, match="run once: edgepress devices --setup qemu"):
        connect("qemu", load_target("raspberry-pi-4"))


def test_what_is_only_counted_tells_no_latency() -> None:
    assert tells_latency(unready("raspberry-pi-4"))
    assert not tells_latency(unready("raspberry-pi-5"))


def test_a_spec_is_qemu_and_nothing_more() -> None:
    with pytest.raises(DeviceError, match="no device 'qemu:a72'"):
        connect("qemu:a72", load_target("raspberry-pi-4"))


def test_each_format_has_its_runtime(tmp_path: Path) -> None:
    onnx, tflite = write_onnx(tmp_path / "m.onnx"), write_tflite(tmp_path / "m.tflite")

    assert unready("raspberry-pi-4").runtime(tflite)[0] == "litert"
    assert unready("raspberry-pi-4").runtime(onnx)[0] == "onnxruntime"
    assert unready("raspberry-pi-zero-2-w").runtime(tflite) == ("tflite_runtime", "2.14.0")
    with pytest.raises(RefusedError, match=r"no ONNX Runtime is built for 32-bit Arm; give a \.tflite file"):
        unready("raspberry-pi-zero-2-w").runtime(onnx)


def test_more_threads_than_the_target_has_cores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="qemu as raspberry-pi-4: 16 threads want 16 cores; it has 4"):
        unready("raspberry-pi-4").measure([write_tflite(tmp_path / "m.tflite")], replace(QUICK, threads=16))


@pytest.fixture(scope="module")
def arm() -> Userland:
    found = expected()
    assert found.complete, "not set up; run: edgepress devices --setup qemu"
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_counts_repeat_within_a_thousandth_over_five_processes(tmp_path: Path) -> None:
    model = write_wide_tflite(tmp_path / "m.tflite", width=64)

    # A device remembers what it counted, so that each process is another device's.
    measured = [emulated("raspberry-pi-4").measure([model], ONCE)[0] for _ in range(5)]
    totals = [by_name(each)["instructions"].value for each in measured]

    assert max(totals) / min(totals) - 1 < 0.001


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_two_copies_of_a_file_do_not_seem_to_differ(tmp_path: Path) -> None:
    one, other = (write_wide_tflite(tmp_path / f"{name}.tflite", width=16) for name in ("one", "other"))

    first, second = emulated("raspberry-pi-5").measure([one, other], QUICK)

    assert compare(first[0], second[0]).verdict == "no difference shown"


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_int8_runs_dot_products_where_the_core_has_them_and_only_there(tmp_path: Path) -> None:
    model = write_wide_tflite(tmp_path / "m.tflite", width=64)

    counts = {core: by_name(emulated(name).measure([model], ONCE)[0]) for core, name in TARGETS.items()}

    dots = {core: found["instructions.dot_product"].value for core, found in counts.items()}
    assert dots["a53"] == dots["a72"] == 0
    assert dots["a76"] > 10_000
    assert counts["a76"]["instructions"].value < 0.6 * counts["a72"]["instructions"].value
    assert sum(counts["a76"][f"instructions.{name}"].value for name in CLASSES) == pytest.approx(
        counts["a76"]["instructions"].value, rel=1e-3
    )


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_half_the_width_costs_less_and_zeros_cost_the_same(tmp_path: Path) -> None:
    whole = write_wide_tflite(tmp_path / "whole.tflite", width=64)
    half = write_wide_tflite(tmp_path / "half.tflite", width=32)
    zeros = write_wide_tflite(tmp_path / "zeros.tflite", width=64, zero_share=0.8)

    measured = emulated("raspberry-pi-4").measure([whole, half, zeros], ONCE)
    total, less, same = (by_name(each)["instructions"].value for each in measured)

    assert less < 0.6 * total
    assert same == pytest.approx(total, rel=0.001)


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("name", TARGETS.values())
def test_arm_answers_within_one_unit_of_the_host(tmp_path: Path, name: str) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    stored = (np.round(samples(32) / np.float32(INPUT[0])) + INPUT[1]).astype(np.int8).transpose(0, 2, 3, 1)

    arm, host = answers_of_both(emulated(name), model, stored)

    assert len(np.unique(host)) > 10
    assert np.abs(arm.astype(int) - host).max() <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_32_bit_arm_answers_within_one_unit_of_the_host(tmp_path: Path) -> None:
    # Convolutions only: the older tflite-runtime rounds a mean otherwise than LiteRT does, on x86 as on Arm.
    model = write_wide_tflite(tmp_path / "m.tflite", width=16)
    stored = np.random.default_rng(1).integers(-128, 128, (4, 16, 16, 16)).astype(np.int8)

    arm, host = answers_of_both(emulated("raspberry-pi-zero-2-w"), model, stored)

    assert len(np.unique(host)) > 100
    assert np.abs(arm.astype(int) - host).max() <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_onnx_runtime_answers_like_the_host(tmp_path: Path) -> None:
    arm, host = answers_of_both(emulated("raspberry-pi-4"), write_onnx(tmp_path / "m.onnx"), samples(32))

    assert len(np.unique(host)) > 10
    assert np.abs(arm - host).max() <= 1.001 * OUTPUT[0]


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_a_calibrated_target_gets_an_estimate_with_its_band_and_another_only_counts(tmp_path: Path) -> None:
    model = write_wide_tflite(tmp_path / "m.tflite", width=64)

    board = emulated("raspberry-pi-4")

    [calibrated] = board.measure([model], QUICK)
    [shared] = board.measure([model], replace(QUICK, threads=4))
    [other] = emulated("raspberry-pi-5").measure([model], QUICK)

    latency = calibrated[0]
    assert (latency.quantity, latency.label, latency.unit) == ("latency", "estimated", "us")
    assert 0 < latency.low < 0.65 * latency.value < latency.value < 1.6 * latency.value < latency.high
    assert "edgepress devices --calibration raspberry-pi-4" in latency.how
    assert 0.2 * latency.value < shared[0].value < latency.value
    assert shared[1].process_medians == calibrated[1].process_medians
    assert (other[0].quantity, other[0].label) == ("instructions", "emulated")
    assert "latency" not in by_name(other)
    assert all(each.valid and each.device == "qemu" for each in (*calibrated, *other))
    assert {each.label for each in calibrated[1:]} == {"emulated"}


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_a_calibration_of_one_runtime_says_nothing_of_another(tmp_path: Path) -> None:
    [measured] = emulated("raspberry-pi-4").measure([write_onnx(tmp_path / "m.onnx")], ONCE)

    assert measured[0].quantity == "instructions"
    assert measured[0].runtime == "onnxruntime"


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
@pytest.mark.parametrize("write", [write_tflite, write_float_tflite])
def test_a_32_bit_target_counts_tflite_runtime(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    [measured] = emulated("raspberry-pi-zero-2-w").measure([write(tmp_path / "m.tflite")], ONCE)

    counts = by_name(measured)
    assert (measured[0].runtime, measured[0].runtime_version) == ("tflite_runtime", "2.14.0")
    assert counts["instructions"].value > 1000
    assert counts["instructions.branch"].value > 0
    assert counts["instructions.vector_load"].value > 0


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "m.tflite"
    broken.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))

    with pytest.raises(DeviceError, match=r"qemu can't run m\.tflite as raspberry-pi-4: it ") as raised:
        emulated("raspberry-pi-4").measure([broken], ONCE)

    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.usefixtures("arm")
def test_a_set_up_that_is_there_is_tried_and_used_again_without_a_network() -> None:
    edgepress = str(Path(sys.executable).with_name("edgepress"))

    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", edgepress, "devices", "--setup", "qemu"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )

    assert "nothing fetched" in done.stdout
