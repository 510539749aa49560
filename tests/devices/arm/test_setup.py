"""A set-up that can't run says why before it costs anything, and leaves nothing half-done."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from devices.arm import debian, setup
from devices.arm.userland import RECORD, Userland, expected, userland
from pipeline.errors import DeviceError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def dead_mirror(folder: Path) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    (folder / "sources.list").write_text("deb http://127.0.0.1:9/debian bookworm main\n", encoding="utf-8")
    return folder


def test_what_is_not_set_up_names_the_command_that_does_it(cache: Path) -> None:
    with pytest.raises(DeviceError, match=f"qemu isn't set up in {cache}; run once: edgepress devices --setup qemu"):
        userland()


def test_a_cache_whose_path_qemu_would_take_apart_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_CACHE", "/tmp/a,b")  # noqa: S108  # never made

    with pytest.raises(DeviceError, match="its path may hold no ',' and no ':'; set EDGEPRESS_CACHE"):
        expected()


def test_a_failed_set_up_leaves_nothing_and_removes_what_an_interrupted_one_left(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "ETC_APT", dead_mirror(tmp_path / "apt"))
    (cache / "qemu-old.partial-x" / "host").mkdir(parents=True)
    told: list[str] = []

    with pytest.raises(DeviceError, match="can't apt-get update"):
        setup.set_up(told.append)

    assert told[0].startswith("fetching")
    assert [path.name for path in cache.iterdir()] == ["qemu.lock"]


def test_a_machine_without_a_compiler_is_told_before_anything_is_fetched(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    told: list[str] = []

    with pytest.raises(DeviceError, match="found no C compiler; apt-get install gcc libc6-dev"):
        setup.set_up(told.append)

    assert told == []
    assert not list(cache.glob("qemu-*"))


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGEPRESS_CACHE", str(tmp_path / "file" / "cache"))

    with pytest.raises(DeviceError, match="name another folder in EDGEPRESS_CACHE"):
        setup.set_up(print)


def test_a_second_set_up_waits_and_then_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "LOCK_SECONDS", 0.1)
    cache.mkdir()

    with FileLock(cache / "qemu.lock"), pytest.raises(DeviceError, match="another set-up of qemu runs"):
        setup.set_up(print)


def test_a_userland_that_lost_a_part_is_built_anew(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "ETC_APT", dead_mirror(tmp_path / "apt"))
    hollow = expected().folder
    hollow.mkdir(parents=True)
    (hollow / RECORD).write_text('{"qemu": "1"}', encoding="utf-8")
    told: list[str] = []

    with pytest.raises(DeviceError, match="can't apt-get update"):
        setup.set_up(told.append)

    assert told[:2] == ["trying the userland in the cache", "it doesn't work any more; building it anew"]
    assert cache.exists()


def test_a_root_shows_the_shared_files_and_takes_an_overlay(tmp_path: Path) -> None:
    arm = Userland(tmp_path / "cache")
    (tmp_path / "cache" / "arm64" / "usr").mkdir(parents=True)

    arm.lay_root(tmp_path / "root", 64)
    (tmp_path / "root" / "proc").mkdir()

    assert (tmp_path / "root" / "usr").resolve() == tmp_path / "cache" / "arm64" / "usr"
    assert os.listdir(tmp_path / "cache" / "arm64") == ["usr"]  # noqa: PTH208  # names are what is meant


def test_the_name_of_a_userland_covers_its_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    from devices.arm import userland as module

    before = module.identity()
    monkeypatch.setattr(module, "PLUGIN_SOURCE", module.PLUGIN_SOURCE + "\n")

    assert module.identity() != before
