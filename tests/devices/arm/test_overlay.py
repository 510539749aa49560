"""What a guest sees of its processor is what the profile says."""

from pathlib import Path

import pytest

from devices.arm.overlay import cache_kib, write_overlay
from pipeline.errors import DeviceError
from targets import Fact, Target, load_target

CPU = Path("sys/devices/system/cpu")


def laid(folder: Path, target: Target) -> Path:
    assert target.emulation is not None
    write_overlay(folder, target, target.emulation)
    return folder


def read(root: Path, name: str) -> str:
    return (root / CPU / name).read_text(encoding="ascii").strip()


def test_a_raspberry_pi_4_is_seen_as_four_a72_with_their_caches(tmp_path: Path) -> None:
    root = laid(tmp_path, load_target("raspberry-pi-4"))

    info = (root / "proc/cpuinfo").read_text(encoding="ascii")
    assert info.count("CPU part\t: 0xd08\n") == 4
    assert "Features\t: fp asimd evtstrm crc32 cpuid\n" in info
    assert read(root, "online") == "0-3"
    assert read(root, "cpu3/regs/identification/midr_el1") == "0x00000000410fd083"
    assert read(root, "cpu0/cpufreq/cpuinfo_max_freq") == "1500000"
    caches = [read(root, f"cpu0/cache/index{index}/size") for index in range(3)]
    assert caches == ["32K", "48K", "1024K"]
    assert read(root, "cpu1/cache/index2/shared_cpu_list") == "0-3"
    assert read(root, "cpu1/cache/index0/shared_cpu_list") == "1"


def test_a_private_second_level_is_private_and_a_third_is_shared(tmp_path: Path) -> None:
    root = laid(tmp_path, load_target("raspberry-pi-5"))

    assert read(root, "cpu2/cache/index2/shared_cpu_list") == "2"
    assert read(root, "cpu2/cache/index3/shared_cpu_list") == "0-3"


def test_a_32_bit_guest_sees_an_armv7(tmp_path: Path) -> None:
    root = laid(tmp_path, load_target("raspberry-pi-zero-2-w"))

    info = (root / "proc/cpuinfo").read_text(encoding="ascii")
    assert "ARMv7 Processor rev 4 (v7l)" in info
    assert "CPU architecture: 7" in info
    assert " neon " in info


def test_a_cache_that_nobody_published_is_not_made_up(tmp_path: Path) -> None:
    target = load_target("raspberry-pi-4")
    bare = target.cores[0].model_copy(update={"l1_data_kib": None, "clock_mhz": None})
    target = target.model_copy(update={"cores": (bare,)})

    root = laid(tmp_path, target)

    assert cache_kib(target) == {"l1i": 48, "l2": 1024}
    assert read(root, "cpu0/cache/index0/type") == "Instruction"
    assert not (root / CPU / "cpu0/cpufreq").exists()


def test_a_part_that_is_no_number_is_one_line(tmp_path: Path) -> None:
    target = load_target("raspberry-pi-4")
    assert target.emulation is not None
    wrong = target.emulation.model_copy(update={"part": "cortex"})

    with pytest.raises(DeviceError, match=r"are hexadecimal, e\.g\. '0xd08'; found '0x41', '0x0', 'cortex'"):
        write_overlay(tmp_path, target, wrong)


def test_a_thousand_cores_are_refused(tmp_path: Path) -> None:
    target = load_target("raspberry-pi-4")
    many = target.cores[0].model_copy(update={"count": Fact(value=1000, source="bcm2711")})
    assert target.emulation is not None

    with pytest.raises(DeviceError, match="1000 cores"):
        write_overlay(tmp_path, target.model_copy(update={"cores": (many,)}), target.emulation)


def test_a_cache_of_a_terabyte_is_refused() -> None:
    target = load_target("raspberry-pi-5")
    huge = target.memory.model_copy(update={"l3_kib": Fact(value=10**9, source="bcm2712")})

    with pytest.raises(DeviceError, match="a cache l3 of 1000000000 KiB"):
        cache_kib(target.model_copy(update={"memory": huge}))
