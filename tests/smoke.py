"""Run a recipe's smoke form as the command line does, and read what it left."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest

from pipeline.cli import app


@dataclass(frozen=True)
class Smoke:
    """What a run left in `folder`: its report, its ONNX file's metadata, and the processor's seconds that it took."""

    folder: Path
    report: dict[str, Any]
    metadata: dict[str, str]
    seconds: float


def run_smoke(recipe: str, folder: Path, target: str = "raspberry-pi-4") -> Smoke:
    before = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_STORE", str(folder / "store"))
        code = app(["run", recipe, "--out", str(folder / "out")], standalone_mode=False)
    seconds = time.process_time() - before
    assert not code, (folder / "out" / target / "report.md").read_text(encoding="utf-8")
    assert (folder / "out" / "report.html").is_file()
    out = folder / "out" / target
    return Smoke(
        folder=out,
        report=json.loads((out / "report.json").read_text(encoding="utf-8")),
        metadata={each.key: each.value for each in onnx.load(out / "model.onnx").metadata_props},
        seconds=seconds,
    )
