import resource
from pathlib import Path

import pytest
import torch

from pipeline.checkpoint import read_checkpoint, write_checkpoint
from pipeline.errors import StoreError


def test_tensors_and_numbers_come_back_exactly(tmp_path: Path) -> None:
    tensors = {"w": torch.randn(3, 4), "steps": torch.tensor(7), "half": torch.randn(2).bfloat16()}
    numbers = {"loss": 0.1 + 0.2, "tiny": 5e-324, "history": [{"score": 1 / 3}]}
    write_checkpoint(tmp_path / "checkpoint", tensors, numbers)
    found = read_checkpoint(tmp_path / "checkpoint")

    assert found is not None
    assert all(torch.equal(tensors[name], found[0][name]) for name in tensors)
    assert found[1] == numbers


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    tensor = torch.randn(4)
    write_checkpoint(tmp_path / "checkpoint", {"a": tensor, "b": tensor, "slice": tensor[1:3]}, {})
    found = read_checkpoint(tmp_path / "checkpoint")

    assert found is not None
    assert torch.equal(found[0]["slice"], tensor[1:3])


def test_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "checkpoint") is None


@pytest.mark.parametrize("length", [0, 10, 40, 100, -1])
def test_a_file_cut_short_does_not_count(tmp_path: Path, length: int) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, {"w": torch.randn(30)}, {"step": 1})
    path.write_bytes(path.read_bytes()[:length])

    assert read_checkpoint(path) is None


def test_a_flipped_bit_anywhere_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, {"w": torch.randn(3)}, {"step": 1})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])

        assert read_checkpoint(path) is None


def test_a_disk_that_refuses_is_one_line_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, {"w": torch.zeros(3)}, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match=r"can't be written .*; free space there"):
            write_checkpoint(path, {"w": torch.zeros(3000)}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = read_checkpoint(path)

    assert found is not None
    assert found[1] == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
