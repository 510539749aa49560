"""What every backend must keep, run on all that are found: each is opened in one way here, and a new one must be as well."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from devices import QUICK, UNITS, Device, backends, described, open_device, set_up
from devices.adb import read_devices
from pipeline.errors import DeviceError
from targets import known_targets, load_target
from tests.devices.boards import ssh_board, until
from tests.devices.fake_adbd import FakePhone, adb_server, client
from tests.devices.test_adb import BENCHMARK, PROPERTIES
from tests.small_files import write_tflite

ONCE = replace(QUICK, processes=1)
SLOW = ("qemu",)
"""Backends that have to be fetched and built first."""


@contextmanager
def _host(_: Path) -> Iterator[Device]:
    yield open_device("host")


@contextmanager
def _tflm(_: Path) -> Iterator[Device]:
    yield open_device("tflm")


@contextmanager
def _vela(_: Path) -> Iterator[Device]:
    accelerated = [found for name in known_targets() if (found := load_target(name)).accelerator]
    yield open_device("vela", accelerated[0])


@contextmanager
def _qemu(_: Path) -> Iterator[Device]:
    set_up("qemu", print)
    yield open_device("qemu", load_target("raspberry-pi-4"))


@contextmanager
def _ssh(folder: Path) -> Iterator[Device]:
    with ssh_board(folder / "board") as board, _leases(folder):
        yield open_device(board.spec())


@contextmanager
def _pool(folder: Path) -> Iterator[Device]:
    with ssh_board(folder / "board") as board, _leases(folder):
        yield open_device(f"pool:{board.spec()}")


@contextmanager
def _leases(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("EDGEPRESS_LEASES", str(folder / "leases"))
        yield


@contextmanager
def _adb(folder: Path) -> Iterator[Device]:
    program = folder / "benchmark_model"
    program.write_text(BENCHMARK, encoding="utf-8")
    phone = FakePhone(folder / "phone")
    phone.install("getprop", PROPERTIES)
    with adb_server(folder), _leases(folder):
        client("connect", phone.serial)
        assert until(lambda: read_devices(client("devices", "-l")).get(phone.serial) == "device")
        yield open_device(f"adb:{phone.serial}?benchmark={program}")
    phone.close()


@contextmanager
def _replay(folder: Path) -> Iterator[Device]:
    [measured] = open_device("host").measure([write_tflite(folder / "recorded.tflite")], ONCE)
    lines = [json.dumps(replace(each, made_at="2026-01-02").to_json()) for each in measured]
    (folder / "recording.jsonl").write_text("\n".join(lines), encoding="utf-8")
    yield open_device(f"replay:{folder}/recording.jsonl")


WAYS: dict[str, Callable[[Path], AbstractContextManager[Device]]] = {
    "adb": _adb,
    "host": _host,
    "pool": _pool,
    "qemu": _qemu,
    "replay": _replay,
    "ssh": _ssh,
    "tflm": _tflm,
    "vela": _vela,
}
ALL = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in WAYS]


def test_every_backend_is_found_by_its_file_and_tested_here() -> None:
    assert set(backends()) == set(WAYS)
    assert all(sentence for sentence, _ in described().values())


@pytest.mark.parametrize("name", ALL)
def test_a_device_gives_typed_numbers_with_their_circumstances(tmp_path: Path, name: str) -> None:
    model = write_tflite(tmp_path / "m.tflite")

    with WAYS[name](tmp_path) as device:
        [measured] = device.measure([model], ONCE)

        assert len({measurement.quantity for measurement in measured}) == len(measured)
        for measurement in measured:
            assert measurement.label in ("measured", "emulated", "estimated")
            if name != "pool":  # its boards speak for themselves
                assert (measurement.device, measurement.machine) == (device.name, device.machine)
            assert (measurement.runtime, measurement.runtime_version) == device.runtime(model)
            assert measurement.unit in UNITS
            assert 0 <= measurement.low <= measurement.value <= measurement.high
            assert (measurement.threads, measurement.model) == (ONCE.threads, model.name)
            assert measurement.model_sha256 in measurement.together
            assert measurement.valid == (not measurement.why_invalid)
            assert measurement.how or measurement.label != "estimated"
            assert not measurement.made_at


@pytest.mark.parametrize("name", ALL)
def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, name: str) -> None:
    with WAYS[name](tmp_path) as device, pytest.raises(DeviceError, match=r"nothing\.tflite") as caught:
        device.measure([tmp_path / "nothing.tflite"], ONCE)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["hots", "host:1", "", "nothing://x"])
def test_an_unknown_spec_is_one_line(spec: str) -> None:
    with pytest.raises(DeviceError, match="no device"):
        open_device(spec)


def test_devices_load_no_torch_and_nothing_of_pipeline_but_its_errors() -> None:
    code = "import sys, devices; devices.backends(); print(sorted(m for m in sys.modules if m.startswith('pipeline.')), 'torch' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == "['pipeline.errors'] False"
