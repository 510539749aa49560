"""The target profiles, and what a wrong one is answered with."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import targets
from pipeline.errors import TargetError
from targets import describe, known_targets, load_target

PROFILES = Path(targets.__file__).parent


def edited(tmp_path: Path, old: str, new: str) -> Path:
    text = (PROFILES / "pixel-8.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "pixel-8.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", known_targets())
def test_every_profile_that_ships_is_valid_and_every_number_in_it_has_a_source(name: str) -> None:
    target = load_target(name)

    assert target.name == name
    assert all(source for _, value, source in describe(target) if value != targets.NOT_PUBLISHED)
    assert target.runtimes


def test_the_first_two_profiles_differ_where_the_devices_do() -> None:
    board, phone = load_target("raspberry-pi-4"), load_target("pixel-8")

    assert board.features == {"neon"}
    assert {"dotprod", "i8mm", "fp16"} <= phone.features
    assert board.channel_multiple.value == 8
    assert [core.name for core in phone.cores] == ["Cortex-X3", "Cortex-A715", "Cortex-A510"]


def test_what_no_source_gives_is_shown_as_not_published() -> None:
    rows = {what: value for what, value, _ in describe(load_target("pixel-8"))}

    assert rows["shared l3_kib"] == "not published"
    assert rows["Cortex-X3 clock_mhz"] == "2910"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TargetError, match=r"no target 'pixel8'; known: .*pixel-8.*did you mean 'pixel-8'\?"):
        load_target("pixel8")


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        ("channel_multiple", "chanel_multiple", r"unknown key 'chanel_multiple'; did you mean 'channel_multiple'\?"),
        ("clock_mhz", "clock_mhs", r"unknown key 'cores.0.clock_mhs'; did you mean 'clock_mhz'\?"),
        ("value = 2910", 'value = "2910"', "key 'cores.0.clock_mhz.value': input should be a valid integer"),
        ("value = 16,", "value = 0,", "key 'channel_multiple.value': input should be greater than 0"),
        ('source = "clocks"', 'source = "clock"', r"no source 'clock' in \[sources\].*did you mean 'clocks'\?"),
        ("schema = 1", "schema = 2", "schema = 2; this version reads schema = 1"),
        ('name = "pixel-8"', 'name = "pixel-9"', "a profile is named after its file: 'pixel-8'"),
        ("schema = 1", "schema = = 1", "is no TOML"),
        ("schema = 1", "schema = 1\nmade = 2024-01-01", "unknown key 'made'"),
    ],
)
def test_a_mistake_in_a_profile_is_answered_with_its_one_cause(tmp_path: Path, old: str, new: str, answer: str) -> None:
    path = edited(tmp_path, old, new)

    with pytest.raises(TargetError, match=answer) as caught:
        load_target(path)
    assert "\n" not in str(caught.value)


def test_a_missing_a_binary_and_an_oversized_profile_are_refused(tmp_path: Path) -> None:
    binary, large = tmp_path / "binary.toml", tmp_path / "large.toml"
    binary.write_bytes(bytes(range(256)))
    large.write_bytes(b"#" * (targets.MAX_PROFILE_BYTES + 1))

    with pytest.raises(TargetError, match="no target profile"):
        load_target(tmp_path / "none.toml")
    with pytest.raises(TargetError, match="is no TOML"):
        load_target(binary)
    with pytest.raises(TargetError, match="larger than"):
        load_target(large)


def test_a_users_own_profile_is_read_by_its_path(tmp_path: Path) -> None:
    path = edited(tmp_path, "value = 16,", "value = 4,")

    assert load_target(path).channel_multiple.value == 4


def test_reading_a_target_loads_no_heavy_library() -> None:
    code = "import sys, targets; targets.load_target('pixel-8'); print([m for m in ('torch', 'numpy', 'onnx') if m in sys.modules])"
    started = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROFILES.parent, timeout=60
    )

    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 10  # 0.2 s on an idle machine; the bound only catches a torch-sized import
