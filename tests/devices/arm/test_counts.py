"""The counter's lines are read with bounds, and what the marks cost is taken off."""

import json
from pathlib import Path

import pytest

from devices.arm.counts import CACHES, CLASSES, MOST_BYTES, WARM_REGIONS, read_all, read_counts
from pipeline.errors import DeviceError

MARKS = 100


def line(total: int, *, caches: bool = False, **changed: object) -> str:
    region: dict[str, object] = {"instructions": total, **dict.fromkeys(CLASSES, 0), "integer": total}
    region |= dict.fromkeys(CACHES, 3) if caches else {}
    return json.dumps({**region, **changed})


def written(path: Path, *lines: str) -> Path:
    warm = [line(10**6)] * WARM_REGIONS
    path.write_text("\n".join([*warm, line(MARKS), *lines]) + "\n", encoding="ascii")
    return path


def test_the_median_run_less_the_marks_stands(tmp_path: Path) -> None:
    counts = read_counts(written(tmp_path / "counts", *map(line, (5100, 5300, 5200))), 3)

    assert (counts.instructions, counts.by_class["integer"], counts.by_class["dot_product"]) == (5100, 5100, 0)
    assert counts.caches == {}


def test_modelled_caches_are_read_where_there_are_any(tmp_path: Path) -> None:
    file = tmp_path / "counts"
    regions = [line(MARKS, caches=True, memory_lines=1)] * (WARM_REGIONS + 1) + [line(900, caches=True)]
    file.write_text("\n".join(regions), encoding="ascii")

    assert read_counts(file, 1).caches == {"l1d_misses": 0, "l1i_misses": 0, "l2_misses": 0, "memory_lines": 2}


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        '{"instructions": 5}',
        line(5, integer=-1),
        line(5, integer="many"),
        line(5, integer=None),
        line(5, another=1),
        "\udcff",
        "[" * 100_000,
    ],
    ids=lambda damage: damage[:20],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, damage: str) -> None:
    file = written(tmp_path / "counts", line(5000))
    text = file.read_text(encoding="ascii")
    file.write_bytes(f"{text}{damage}\n".encode("ascii", "surrogateescape"))

    with pytest.raises(DeviceError, match="qemu's plug-in"):
        read_counts(file, 2)


def test_a_run_that_was_not_counted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="counted 6 regions; 7 were marked"):
        read_counts(written(tmp_path / "counts", line(5000)), 2)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="left no counts"):
        read_counts(tmp_path / "none", 1)


def test_an_endless_file_is_read_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "counts"
    with file.open("wb") as stream:
        stream.truncate(MOST_BYTES * 1000)

    with pytest.raises(DeviceError, match="qemu's plug-in"):
        read_counts(file, 1)


def test_files_that_shared_a_process_are_told_apart(tmp_path: Path) -> None:
    file = written(tmp_path / "counts", line(5100))
    both = file.read_text() + written(tmp_path / "more", line(700)).read_text()
    file.write_text(both, encoding="ascii")

    assert [each.instructions for each in read_all(file, 1, files=2)] == [5000, 600]
    with pytest.raises(DeviceError, match="counted 12 regions; 18 were marked"):
        read_all(file, 1, files=3)
