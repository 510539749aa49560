"""What every backend must keep, run on all that are found."""

import subprocess
import sys
from pathlib import Path

import pytest

from devices import QUICK, backends, open_device
from pipeline.errors import DeviceError
from tests.small_files import write_tflite

LOCAL = [name for name in backends() if name == "host"]


def test_a_backend_is_found_by_its_file() -> None:
    assert "host" in backends()
    assert not {"runner", "sandbox", "statistics"} & set(backends())


@pytest.mark.parametrize("name", LOCAL)
def test_a_device_gives_a_typed_number_with_its_circumstances(tmp_path: Path, name: str) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    device = open_device(name)

    [measured] = device.measure([model], QUICK)

    assert len({measurement.quantity for measurement in measured}) == len(measured)
    for measurement in measured:
        assert measurement.label in ("measured", "emulated", "estimated")
        assert (measurement.device, measurement.machine) == (device.name, device.machine)
        assert (measurement.runtime, measurement.runtime_version) == device.runtime(model)
        assert measurement.valid == (not measurement.why_invalid)
        assert measurement.how or measurement.label != "estimated"
        assert not measurement.made_at


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
