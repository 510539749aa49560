"""Two whole runs of one recipe, started at once on one store: each step is made by one of them and found by the other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_runs_at_once_make_each_step_once(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EDGEPRESS_STORE": str(tmp_path / "store")}
    subprocess.run([EDGEPRESS, "init", "."], cwd=tmp_path, check=True, capture_output=True)
    command = [EDGEPRESS, "run", "recipe.toml", "--set", "measure=false", "--out"]

    running = [
        subprocess.Popen([*command, name], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        for name in ("one", "other")
    ]
    told = [process.communicate()[1] for process in running]

    assert [process.returncode for process in running] == [0, 0], told
    one, other = (dict(re.findall(r"^(\S+) +(cached|[\d.]+ s) +[0-9a-f]{12}$", text, re.MULTILINE)) for text in told)
    assert one.keys() == other.keys()
    assert len(one) >= 8
    assert [step for step in one if (one[step] == "cached") == (other[step] == "cached")] == []
    models = [file.read_bytes() for file in sorted(tmp_path.glob("o*/*/model.tflite"))]
    assert models[0] == models[1]
