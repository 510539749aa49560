"""What the study of comparisons kept says what the product promises; see tests/evidence/comparison."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.evidence.comparison.run import OUT, summary

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    kept: dict[str, Any] = summary(json.loads(OUT.read_text(encoding="utf-8")))
    return kept


def claims(case: dict[str, Any], method: str) -> int:
    return int(case["runs"]) - int(case[method].get("no difference shown", 0))


def test_a_copy_was_told_apart_in_three_of_a_hundred_runs_at_most(found: dict[str, Any]) -> None:
    copies = {name: case for name, case in found.items() if name.startswith("copy")}

    assert copies
    assert [name for name, case in copies.items() if claims(case, "told") > 0.03 * case["runs"]] == []
    assert [name for name, case in copies.items() if claims(case, "forced") > 0.03 * case["runs"]] == []
    assert all(case["claims where pairs change places"]["forced"] < 0.01 for case in copies.values())


def test_half_the_width_was_never_called_slower(found: dict[str, Any]) -> None:
    halves = {name: case for name, case in found.items() if name.startswith("half")}

    assert halves
    assert [name for name, case in halves.items() if "slower" in case["told"] or "slower" in case["forced"]] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "machine", "wrong"),
    [("half", "as-it-is", {"slower"}), ("half", "busy", {"slower"}), ("copy", "busy", {"faster", "slower"})],
)
def test_a_run_of_today_says_nothing_wrong(tmp_path: Path, case: str, machine: str, wrong: set[str]) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "tests.evidence.comparison.run", "--case", case, "--machine", machine]

    subprocess.run([*command, "--runs", "2", "--out", str(out)], cwd=ROOT, capture_output=True, check=True)

    told = [run["verdict"] for run in json.loads(out.read_text(encoding="utf-8"))[f"{case}, {machine}"]["runs"]]
    assert len(told) == 2
    assert not wrong & set(told)
