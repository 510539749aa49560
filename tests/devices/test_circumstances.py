"""What boards say of themselves, by the shell function run on folders that stand for boards."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from devices.circumstances import CPU, SCRIPT, THERMAL, Circumstances, held_back, read_circumstances, told

QUIET = Circumstances(governor="performance", freq_khz=1_500_000, temp_mc=48_000, cooling=0, throttled=0)


def look(root: Path, *, path: str = "") -> Circumstances:
    script = (
        SCRIPT.replace(CPU.replace("$1", "0"), str(root))
        .replace(CPU, f"{root}/cpu$1")
        .replace(THERMAL, f"{root}/thermal")
    )
    environment = {"PATH": f"{path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", "-c", f"{script}; facts 0"], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stderr == ""
    return read_circumstances(done.stdout.splitlines())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="utf-8")


def install(folder: Path, name: str, script: str) -> None:
    write(folder / name, f"#!/bin/sh\n{script}")
    (folder / name).chmod(0o755)


def test_what_a_board_does_not_tell_is_none_and_never_0(tmp_path: Path) -> None:
    assert look(tmp_path) == Circumstances()
    assert told([(Circumstances(), Circumstances())]) == ""
    assert held_back(Circumstances(), Circumstances()) == ""


def test_a_board_is_read(tmp_path: Path) -> None:
    write(tmp_path / "cpu0/scaling_governor", "ondemand")
    write(tmp_path / "cpu0/scaling_cur_freq", "1500000")
    for number, (kind, value) in enumerate([("cpu-thermal", 48123), ("battery", 90000), ("soc thermal", 51000)]):
        write(tmp_path / f"thermal/thermal_zone{number}/type", kind)
        write(tmp_path / f"thermal/thermal_zone{number}/temp", str(value))
    for number, (kind, value) in enumerate([("pwm-fan", 4), ("cpufreq-cpu0", 0)]):
        write(tmp_path / f"thermal/cooling_device{number}/type", kind)
        write(tmp_path / f"thermal/cooling_device{number}/cur_state", str(value))
    install(tmp_path / "bin", "vcgencmd", "echo throttled=0x50000")

    seen = look(tmp_path, path=str(tmp_path / "bin"))

    assert seen == Circumstances("ondemand", 1_500_000, 51_000, 0, 0x50000)
    assert held_back(seen, seen) == ""
    assert told([(seen, replace(seen, temp_mc=55_400))]) == "governor ondemand, 1500 MHz, 51 to 55 °C"


def test_a_phone_is_read(tmp_path: Path) -> None:
    battery = "echo '  AC powered: false'; echo '  level: 57'"
    install(tmp_path / "bin", "dumpsys", f'case "$1" in thermalservice) echo "Thermal Status: 2";; *) {battery};; esac')
    install(tmp_path / "bin", "settings", "echo 0")

    seen = look(tmp_path, path=str(tmp_path / "bin"))

    assert seen == Circumstances(thermal_status=2, battery_percent=57)
    assert held_back(seen, seen) == "it was throttled for heat (thermal status 2); let it cool down"
    assert told([(seen, seen)]) == "57 % battery"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (0x0, 0x4, "get_throttled says 0x4"),
        (0x1, 0x0, "get_throttled says 0x0"),
        (0x10000, 0x50000, "get_throttled says 0x50000"),
        (0x50000, 0x50000, ""),
    ],
)
def test_throttling_since_start_up_counts_only_when_it_is_new(before: int, after: int, why: str) -> None:
    found = held_back(replace(QUIET, throttled=before), replace(QUIET, throttled=after))

    assert (why in found) if why else found == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cooling": 2}, "cooling state 2"),
        ({"thermal_status": 1}, "thermal status 1"),
        ({"battery_saver": True}, "battery saver"),
    ],
)
def test_what_holds_a_board_back_at_the_end_is_told(changes: dict[str, int], why: str) -> None:
    assert why in held_back(QUIET, replace(QUIET, **changes))  # type: ignore[arg-type]  # each field's own type


@pytest.mark.parametrize("text", ["", "x", "1e9", "99999999999999999999999", "-", "0x"])
def test_a_line_that_makes_no_sense_counts_as_not_said(text: str) -> None:
    lines = [
        f"@edgepress zone {text} cpu",
        f"@edgepress freq_khz {text}",
        f"@edgepress cooling {text} cpu",
        "@edgepress",
    ]

    assert read_circumstances(lines) == Circumstances()


def test_whole_degrees_are_degrees_and_broken_sensors_are_none() -> None:
    assert read_circumstances(["@edgepress zone 45 cpu"]).temp_mc == 45_000
    assert read_circumstances(["@edgepress zone -273000 cpu", "@edgepress zone 999999 cpu1"]).temp_mc is None
