"""The target profiles, and what a wrong one is answered with."""

import configparser
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

import targets
from pipeline.errors import TargetError
from targets import describe, known_tables, known_targets, load_target
from targets.facts import NOT_EMULATED, cited

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
    assert all(source for _, value, source in describe(target) if value not in (targets.NOT_PUBLISHED, NOT_EMULATED))
    assert set(target.sources) == set(cited(target)), "a source that nothing cites, or a citation without a source"
    assert all(" " in text or "." in text for text in target.sources.values())
    assert {runtime.operators for runtime in target.runtimes} <= set(known_tables())


def test_at_least_eighteen_devices_ship_and_none_of_their_titles_twice() -> None:
    shipped = [load_target(name) for name in known_targets()]

    assert len(shipped) >= 18
    assert len({target.title for target in shipped}) == len(shipped)
    assert {target.kind for target in shipped} == {"phone", "board", "microcontroller"}


@pytest.mark.parametrize("name", [name for name in known_targets() if load_target(name).emulation])
def test_what_a_core_says_of_itself_agrees_with_the_features_that_its_profile_claims(name: str) -> None:
    target = load_target(name)
    assert target.emulation
    said, core = set(target.emulation.hwcaps), target.cores[0]
    words = {"neon": {"asimd", "neon"}, "fp16": {"asimdhp"}, "dotprod": {"asimddp"}, "i8mm": {"i8mm"}, "sve2": {"sve2"}}

    assert {feature for feature, word in words.items() if word & said} == set(core.features.value)
    assert target.emulation.bits == (32 if "neon" in said else 64)


@pytest.mark.parametrize("name", [name for name in known_targets() if load_target(name).accelerator])
def test_every_accelerator_is_described_in_words_that_arms_compiler_knows(name: str) -> None:
    package = importlib.util.find_spec("ethosu")
    assert package
    assert package.submodule_search_locations
    arms = configparser.ConfigParser()
    arms.read(Path(package.submodule_search_locations[0]) / "config_files" / "Arm" / "vela.ini")
    part = load_target(name).accelerator
    assert part

    assert f"System_Config.{part.system}" in arms
    assert f"Memory_Mode.{part.memory_mode}" in arms
    assert part.name.lower() == part.configuration.rpartition("-")[0]
    if part.clock_mhz:
        assert float(arms[f"System_Config.{part.system}"]["core_clock"]) == part.clock_mhz.value * 1e6


@pytest.mark.parametrize("name", [name for name in known_targets() if load_target(name).kind == "microcontroller"])
def test_a_microcontrollers_largest_block_is_no_larger_than_its_memory(name: str) -> None:
    memory = load_target(name).memory

    assert memory.ram_kib
    assert memory.ram_block_kib is None or memory.ram_block_kib.value <= memory.ram_kib.value


def test_the_first_two_profiles_differ_where_the_devices_do() -> None:
    board, phone = load_target("raspberry-pi-4"), load_target("pixel-8")

    assert board.features == {"neon"}
    assert {"dotprod", "i8mm", "fp16"} <= phone.features
    assert board.channel_multiple.value == 8
    assert [core.name for core in phone.cores] == ["Cortex-X3", "Cortex-A715", "Cortex-A510"]


def test_what_no_source_gives_is_shown_as_not_published() -> None:
    rows = {what: value for what, value, _ in describe(load_target("pixel-8"))}

    assert rows["shared l3_kib"] == "not published"
    assert rows["Cortex-X3 clock_mhz"] == "2914"
    assert rows["emulation"] == "none here"
    assert "shared flash_kib" not in rows


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TargetError, match=r"no target 'pixel8'; known: .*pixel-8.*did you mean 'pixel-8'\?"):
        load_target("pixel8")


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        ("channel_multiple", "chanel_multiple", r"unknown key 'chanel_multiple'; did you mean 'channel_multiple'\?"),
        ("clock_mhz", "clock_mhs", r"unknown key 'cores.0.clock_mhs'; did you mean 'clock_mhz'\?"),
        ("value = 2914", 'value = "2914"', "key 'cores.0.clock_mhz.value': input should be a valid integer"),
        ("value = 16,", "value = 0,", "key 'channel_multiple.value': input should be greater than 0"),
        ('source = "clocks"', 'source = "clock"', r"no source 'clock' in \[sources\].*did you mean 'clocks'\?"),
        ("schema = 1", "schema = 2", "schema = 2; this version reads schema = 1"),
        ('name = "pixel-8"', 'name = "pixel-9"', "a profile is named after its file: 'pixel-8'"),
        ("schema = 1", "schema = = 1", "is no TOML"),
        ("schema = 1", "schema = 1\nmade = 2024-01-01", "unknown key 'made'"),
        ('operators = "litert"', 'operators = "litrt"', r"no operator table 'litrt'; known: .*did you mean 'litert'\?"),
        ('delegate = "cpu"', 'delegate = "gpu"', r"key 'runtimes.1.delegate': input should be 'xnnpack', 'cpu'"),
        ('"neon", ', '"noen", ', "key 'cores.0.features.value.0': input should be 'neon'"),
        ('connect = ["adb"]', 'connect = "adb"', "key 'connect': input should be a valid"),
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
