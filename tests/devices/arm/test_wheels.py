"""Wheels are those that are pinned, byte for byte, or none."""

import re
import zipfile
from pathlib import Path

import pytest

from devices.arm import wheels
from pipeline.errors import DeviceError


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only place where pip looks, with one small wheel in it."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / "small-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("small.py", "")
        wheel.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1\n")
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(shelf), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return shelf


def test_the_versions_that_are_told_are_those_that_are_pinned() -> None:
    pinned = dict(
        re.findall(r"^(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}$", "".join(wheels.LOCKED.values()), re.MULTILINE)
    )

    told = {name.replace("_", "-"): version for name, version in wheels.VERSIONS.items()}
    assert told == {
        "litert": pinned["ai-edge-litert"],
        "onnxruntime": pinned["onnxruntime"],
        "tflite-runtime": pinned["tflite-runtime"],
    }


@pytest.mark.usefixtures("shelf")
def test_a_wheel_that_no_index_has_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"can't fetch wheels: No matching distribution found for .*index answers"):
        wheels.fetch(32, tmp_path / "fetched")


@pytest.mark.usefixtures("shelf")
def test_a_wheel_of_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wheels.LOCKED, 32, f"small==1 --hash=sha256:{'0' * 64}\n")

    with pytest.raises(DeviceError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        wheels.fetch(32, tmp_path / "fetched")


def test_a_wheel_is_unpacked_where_a_guest_finds_it(tmp_path: Path, shelf: Path) -> None:
    wheels.unpack(shelf / "small-1-py3-none-any.whl", tmp_path / "modules")

    assert (tmp_path / "modules" / "small.py").is_file()
