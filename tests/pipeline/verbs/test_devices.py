"""`edgepress devices`, as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from devices import backends

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))


def run(*arguments: str, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "EDGEPRESS_CACHE": str(cache or "/nonexistent")}
    return subprocess.run(
        [EDGEPRESS, "devices", *arguments], capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def test_every_backend_is_listed_with_a_sentence() -> None:
    done = run()

    listed = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(listed) == set(backends())
    assert all(len(line.split()) > 4 for line in listed.values())
    assert "not set up: edgepress devices --setup qemu" in listed["qemu"]


@pytest.mark.parametrize("name", ["raspberry-pi-4", "raspberry-pi-3b-plus"])
def test_a_calibration_shows_each_figure_with_its_error_and_source(name: str) -> None:
    done = run("--calibration", name)

    assert done.returncode == 0
    figures = [line for line in done.stdout.splitlines() if line.startswith("mobilenet")]
    assert len(figures) == 6
    assert sum(line.endswith("left out in its turn") for line in figures) == 4
    assert sum(line.endswith("never fitted") for line in figures) == 2
    assert "github.com/google/XNNPACK" in done.stdout


def test_a_target_without_calibration_says_which_have_one() -> None:
    done = run("--calibration", "raspberry-pi-5")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("edgepress: target raspberry-pi-5 has no calibration")
    assert done.stderr.endswith("calibrated: raspberry-pi-3b-plus, raspberry-pi-4\n")


def test_a_device_that_needs_nothing_is_told_so() -> None:
    done = run("--setup", "qeum")

    assert done.returncode == 2
    assert done.stderr == "edgepress: nothing to set up for 'qeum'; known: qemu; did you mean 'qemu'?\n"


def test_listing_devices_loads_no_torch() -> None:
    code = (
        "import sys; from pipeline.cli import app\n"
        "try: app(['devices'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=False).returncode == 0
