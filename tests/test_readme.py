"""The README says what is so: its commands exist, its demo was pasted from a run, its numbers keep what the demo promises."""

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import typer.main

from devices import backends
from pipeline.cli import app
from pipeline.provenance import KEYS
from tests.small_files import write_tflite
from tests.small_run import write_run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
FLAGS = {
    "run": {
        "--target",
        "--out",
        "--set",
        "--device",
        "--strict",
        "--fresh",
        "--workers",
        "--cluster",
        "--log",
        "--json",
    },
    "explain": {"--target", "--set"},
    "fit": {
        *("--target", "--latency-ms", "--size-kib", "--max-drop", "--trials", "--hours", "--watt-hours"),
        *("--out", "--set", "--device", "--workers", "--cluster", "--json"),
    },
    "inspect": {"--json"},
    "pack": {"--out", "--sign"},
    "verify": {"--key", "--json"},
    "targets": {"--fits", "--json"},
    "bench": {
        *("--target", "--device", "--against", "--inputs", "--shape", "--threads", "--per-layer"),
        *("--json", "--fresh", "--quick", "--strict"),
    },
    "teachers": {"--set", "--json"},
    "report": {"--out", "--png"},
    "init": set(),
    "gc": {"--keep-days"},
    "devices": {"--setup", "--calibration"},
    "doctor": {"--json"},
    "check": {
        *("--target", "--budget", "--device", "--baseline", "--update-baseline", "--reference", "--samples"),
        *("--waivers", "--format", "--out", "--strict", "--config", "--explain"),
    },
}
"""A new flag is rare (STYLE 43): it is added here, with its reason in the commit."""


def demo_block() -> str:
    spec = importlib.util.spec_from_file_location("paste_readme", ROOT / "tests" / "paste_readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.block(README))


def commands() -> dict[str, set[str]]:
    group = typer.main.get_command(app)
    found: dict[str, set[str]] = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]  # a typer app with several verbs is a group
        flags = {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}
        found[name] = flags - {"--help"}
    return found


def test_the_command_line_has_these_verbs_and_flags_and_no_others() -> None:
    assert commands() == FLAGS


def test_every_verb_stands_in_the_readme_and_none_that_is_not_there() -> None:
    named = set(re.findall(r"`edgepress (\w+)", README))

    assert named == set(FLAGS)


def test_every_module_of_the_tree_in_the_readme_is_there() -> None:
    tree = README[README.index("## The house") :]
    named = re.findall(r"\b(\w+\.py)\b", tree)

    assert [name for name in named if not (ROOT / "pipeline" / name).is_file()] == []


def test_the_readme_names_every_loss_every_weighting_and_settings_that_exist() -> None:
    from pipeline.distillation import losses, seen
    from pipeline.distillation.weighting import RULES
    from pipeline.stages.distill import DistillConfig

    start = README.index("## Learning from teachers")
    part = README[start : README.index("\n## ", start)]
    in_table = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)))
    settings = tomllib.loads(textwrap.dedent("\n".join(re.findall(r"^    .*$", part, re.MULTILINE))))

    assert set(in_table) == {*losses.discover(), *seen.discover()}
    assert [rule for rule in RULES if f"`{rule}`" not in part] == []
    DistillConfig.model_validate_json(json.dumps(settings["distill"]))


def test_help_names_every_verb() -> None:
    shown = subprocess.run([EDGEPRESS, "--help"], capture_output=True, text=True, check=True).stdout

    assert [verb for verb in FLAGS if verb not in shown] == []


def test_the_pasted_demo_passed_its_gate_with_ten_times_fewer_macs_and_a_twentieth_of_the_size() -> None:
    demo = demo_block()
    gains = [line for line in demo.splitlines() if line.startswith("| int8") and "| teacher" in line]
    macs = [float(found) for line in gains for found in re.findall(r": ([\d.]+)x fewer", line)]
    sizes = [float(found) for line in gains for found in re.findall(r": ([\d.]+)x smaller", line)]

    assert "fidelity: passed" in demo
    assert (len(macs), len(sizes)) == (2, 2)
    assert min(macs) >= 10
    assert min(sizes) >= 20


def test_the_pasted_demo_has_control_rows_and_intervals() -> None:
    rows = [line for line in demo_block().splitlines() if line.startswith("| control: ")]

    assert len(rows) == 3
    assert all(re.search(r"0\.\d{4} \[0\.\d{4}, \d\.\d{4}\]", row) for row in rows)


def test_the_gate_of_the_readme_passes_what_it_accepted_and_fails_what_grew(tmp_path: Path) -> None:
    settings = README[
        README.index("    schema = 1\n    models") : README.index("    $ edgepress check --update-baseline")
    ]
    (tmp_path / "edgepress.toml").write_text(textwrap.dedent(settings))
    write_tflite(tmp_path / "model.tflite")

    first = subprocess.run([EDGEPRESS, "check", "--update-baseline"], cwd=tmp_path, capture_output=True, check=False)
    again = subprocess.run([EDGEPRESS, "check"], cwd=tmp_path, capture_output=True, check=False)
    write_tflite(tmp_path / "model.tflite", transposed=True)
    grown = subprocess.run([EDGEPRESS, "check"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert (tmp_path / "edgepress-baseline.json").is_file()
    assert grown.returncode == 1
    assert "baseline-" in grown.stdout


def test_the_archives_of_the_readme_are_packed_verified_and_shown(tmp_path: Path) -> None:
    write_run(tmp_path / "leaves", name="brightest-quarter")
    part = README[README.index("## Artifacts that travel") : README.index("## Commands")]
    lines = [line.partition("#")[0].split() for line in re.findall(r"^    (\w.*)$", part, re.MULTILINE)]
    ended = [
        subprocess.run(
            [EDGEPRESS if line[0] == "edgepress" else line[0], *line[1:]],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        for line in lines
    ]

    assert len(lines) == 7
    assert [each.returncode for each in ended] == [0] * len(lines), [each.stderr for each in ended]
    assert b"signed by the key given" in ended[-1].stdout


def test_the_readme_names_every_key_of_provenance() -> None:
    part = README[README.index("## Artifacts that travel") : README.index("## Commands")]

    assert set(re.findall(r'"(\w+)": \.\.\.', part)) == set(KEYS)


def test_every_device_of_the_readme_is_there_and_none_is_missing() -> None:
    table = README[
        README.index("| device | what its numbers are |") : README.index("`edgepress devices --setup qemu` fetches")
    ]

    assert set(re.findall(r"`(\w+)[`:]", table)) == set(backends())


def test_every_picture_of_the_readme_is_there_and_small() -> None:
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)

    assert named == [".github/report.png"]
    assert all(0 < (ROOT / name).stat().st_size < 150_000 for name in named)


def test_the_version_is_that_of_the_project() -> None:
    told = subprocess.run([EDGEPRESS, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert told == f"edgepress {project['version']}"
