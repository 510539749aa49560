"""Run one of the studies under `tests/evidence` as its README says, and return the JSON document that it prints."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def study(module: str, *options: str) -> dict[str, Any]:
    """Return what `python -m tests.evidence.MODULE OPTIONS` found; it must end well."""
    command = [sys.executable, "-m", f"tests.evidence.{module}", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout)
    return found
