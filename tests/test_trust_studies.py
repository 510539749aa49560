"""What the studies of trust kept is what their README tells of them."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "evidence" / "trust"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def kept(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def told(name: str) -> str:
    """Return the README's line of a study."""
    [line] = [line for line in README.splitlines() if f"| `{name}.json` |" in line]
    return line


def test_no_parser_and_no_bounded_process_failed() -> None:
    for name in ("fuzz", "sandboxed"):
        found = kept(name)
        assert found["wrong"] == []
        assert f"{found['cases']:,}" in told(name)
        assert f"in {found['seconds']:,} s" in told(name)


def test_no_kill_changed_what_came_out() -> None:
    found = kept("kills")

    assert [found[name] for name in ("corrupt", "different", "left", "tracebacks", "hung")] == [0] * 5
    assert found["kills"] == sum(len(run["victims"]) for run in found["runs"]) >= 200
    assert f"| {found['kills']} kills: " in told("kills")


def test_no_full_disk_lost_anything() -> None:
    found = kept("full_disk")

    assert (found["lost"], found["different"], found["half_written"], found["unclear"]) == (0, 0, 0, 0)
    assert found["not_well_after"] == 0
    assert f"| {found['moments']} moments, {found['ended_with_2']} of them refused" in told("full_disk")


def test_an_hour_left_nothing_behind() -> None:
    found = kept("an_hour")
    curve = found["curve"]

    assert found["flat"]
    assert curve[-1]["minute"] >= 60
    assert f"| {found['rounds']} rounds " in told("an_hour")
    assert f"{found['growth']['rss_mib']:.0f} more in the last quarter" in told("an_hour")
    for minute, memory in ((20, 873), (37, 883), (60, 887)):
        nearest = min(curve, key=lambda row: abs(row["minute"] - minute))
        assert f"{memory} after {minute}" in told("an_hour").replace(" MiB", "").replace(" minutes", "")
        assert abs(nearest["rss_mib"] - memory) < 1


def test_every_file_system_gave_the_same() -> None:
    found = kept("file_systems")

    assert {
        name: (each["wrong"], each["steps"], each["digests"]) for name, each in found.items() if name != "delay_ms"
    } == {name: ([], found["own"]["steps"], found["own"]["digests"]) for name in ("own", "exfat", "slow")}
