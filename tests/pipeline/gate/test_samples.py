"""Samples are plain arrays of equal length, and nothing else is let in."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError
from pipeline.gate import samples as module
from pipeline.gate.samples import read_samples


def saved(path: Path, **arrays: Any) -> Path:
    file = path / "samples.npz"
    np.savez(file, **arrays)
    return file


def test_inputs_and_labels_are_read(tmp_path: Path) -> None:
    read = read_samples(saved(tmp_path, x=np.zeros((5, 2), np.float32), labels=np.arange(5)))

    assert list(read.inputs) == ["x"]
    assert read.labels is not None
    assert read.labels.tolist() == [0, 1, 2, 3, 4]
    assert (read.count, len(read.sha256)) == (5, 64)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({}, "hold no input"),
        ({"labels": np.arange(3)}, "hold no input"),
        ({"x": np.float32(1)}, "give numbers [N, ...]"),
        ({"x": np.array(["a"])}, "give numbers [N, ...]"),
        ({"x": np.zeros((3, 1)), "y": np.zeros((4, 1))}, "each needs as many"),
        ({"x": np.zeros((3, 1)), "labels": np.arange(4)}, "each needs as many"),
        ({"x": np.zeros((0, 1))}, "at least one"),
        ({"x": np.zeros((3, 1)), "labels": np.zeros(3)}, "give integers [N]"),
        ({"x": np.zeros((3, 1)), "labels": np.zeros((3, 2), int)}, "give integers [N]"),
    ],
)
def test_arrays_that_do_not_belong_together_are_told(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    with pytest.raises(ModelError) as raised:
        read_samples(saved(tmp_path, **arrays))

    assert told in str(raised.value)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.array([{"a": 1}], dtype=object))

    with pytest.raises(ModelError, match="of plain arrays"):
        read_samples(file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_what_is_no_archive_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "samples.npz"
    file.write_bytes(content)

    with pytest.raises(ModelError) as raised:
        read_samples(file)

    assert "write them with numpy.savez" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_samples(tmp_path / "none.npz")


def test_a_damaged_array_is_told(tmp_path: Path) -> None:
    file = saved(tmp_path, x=np.zeros((100, 100)))
    content = bytearray(file.read_bytes())
    content[5000] ^= 255
    file.write_bytes(bytes(content))

    with pytest.raises(ModelError, match="of plain arrays"):
        read_samples(file)


def test_an_archive_that_would_unpack_to_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bomb.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(2**20))
    monkeypatch.setattr(module, "MAX_SAMPLES_BYTES", 2**19)

    with pytest.raises(ModelError, match="unpack to 1048576 bytes"):
        read_samples(file)
