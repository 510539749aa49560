"""One training, every profile: phones, boards, microcontrollers and an Ethos-U each get files that pass their own check."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from targets import known_targets, load_target

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))


def edgepress(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EDGEPRESS_STORE": str(folder / "store")}
    return subprocess.run(
        [EDGEPRESS, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_training_gives_every_profile_a_file_that_passes_its_check(tmp_path: Path) -> None:
    targets = known_targets()
    assert len(targets) >= 18
    assert edgepress(tmp_path, "init", ".").returncode == 0
    chosen = [argument for target in targets for argument in ("--target", target)]

    made = edgepress(tmp_path, "run", "recipe.toml", "--out", "out", "--set", "measure=false", *chosen)

    assert made.returncode == 0, made.stderr + made.stdout
    assert trained(made.stderr, "distill") == 1
    assert trained(made.stderr, "prune") == len({load_target(target).channel_multiple.value for target in targets})
    refused = [line for target in targets for line in errors_of(tmp_path, target)]
    assert not refused, "\n".join(refused)


def trained(log: str, step: str) -> int:
    """How many times a step was made, not found."""
    runs: Sequence[str] = re.findall(rf"^{step} +(cached|[\d.]+ s)", log, re.MULTILINE)
    assert len(runs) == len(known_targets())
    return sum(run != "cached" for run in runs)


def errors_of(folder: Path, target: str) -> list[str]:
    """What `check` holds against each file that a runtime of the target takes."""
    said = []
    for format_ in sorted({runtime.format for runtime in load_target(target).runtimes}):
        judged = edgepress(folder, "check", f"out/{target}/model.{format_}", "--target", target, "--format", "json")
        [found] = json.loads(judged.stdout)["checks"]
        errors = [finding["code"] for finding in found["findings"] if finding["severity"] == "error"]
        if judged.returncode or errors:
            said.append(f"{target}, {format_}: exit code {judged.returncode}, {', '.join(errors) or judged.stderr}")
    return said
