"""One training, four kinds of device: a phone, a board, a Cortex-M and an Ethos-U each get a file that passes their own check."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
TARGETS = {"pixel-8": 16, "raspberry-pi-4": 8, "nucleo-l4r5zi": 4, "corstone-300": 8}
"""Each with its channel multiple: targets of one multiple share the pruned network too."""


def edgepress(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EDGEPRESS_STORE": str(folder / "store")}
    return subprocess.run(
        [EDGEPRESS, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_training_gives_each_kind_of_device_a_file_that_passes_its_check(tmp_path: Path) -> None:
    assert edgepress(tmp_path, "init", ".").returncode == 0
    chosen = [argument for target in TARGETS for argument in ("--target", target)]

    made = edgepress(tmp_path, "run", "recipe.toml", "--out", "out", "--set", "measure=false", *chosen)

    assert made.returncode == 0, made.stderr + made.stdout
    runs = {
        step: re.findall(rf"^{step} +(cached|[\d.]+ s)", made.stderr, re.MULTILINE) for step in ("distill", "prune")
    }
    assert [found == "cached" for found in runs["distill"]] == [False, True, True, True]
    assert sum(found != "cached" for found in runs["prune"]) == len(set(TARGETS.values()))
    for target in TARGETS:
        judged = edgepress(tmp_path, "check", f"out/{target}/model.tflite", "--target", target, "--format", "json")
        assert judged.returncode == 0, judged.stderr + judged.stdout
        [found] = json.loads(judged.stdout)["checks"]
        assert not [finding for finding in found["findings"] if finding["severity"] == "error"]
