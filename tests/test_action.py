"""The GitHub action does what its runner would do with it: its steps run here, with inputs in the environment alone."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.small_files import write_onnx, write_tflite

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
BASH = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
"""How a runner starts `shell: bash` (docs.github.com, workflow syntax, jobs.<job_id>.steps[*].shell)."""

EXPRESSION = re.compile(r"\$\{\{ *(\S+) *\}\}")


@dataclass
class Runner:
    """As much of GitHub's runner as a composite action of shell steps needs."""

    workspace: Path
    action_path: Path = ROOT
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    log: str = ""
    code: int = 0

    def run(self, **inputs: str) -> "Runner":
        """Run every step until one fails."""
        unknown = set(inputs) - set(ACTION["inputs"])
        assert not unknown, f"no inputs {unknown}"
        given = {name: str(told["default"]) for name, told in ACTION["inputs"].items()} | inputs
        for number, step in enumerate(STEPS):
            self._step(number, step, given)
            if self.code:
                break
        return self

    def output(self, name: str) -> str:
        """Return an output of the action, "" where the step gave none."""
        return self._resolved(ACTION["outputs"][name]["value"], {})

    @property
    def summary(self) -> str:
        """What the run's page shows."""
        path = self._temp / "summary.md"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def _temp(self) -> Path:
        folder = self.workspace.parent / "runner temp"
        folder.mkdir(exist_ok=True)
        return folder

    def _step(self, number: int, step: dict[str, Any], inputs: dict[str, str]) -> None:
        script, output = self._temp / f"{number}.sh", self._temp / f"{number}.out"
        script.write_text(step["run"], encoding="utf-8")
        output.write_text("")
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "RUNNER_TEMP": str(self._temp),
            "GITHUB_ACTION_PATH": str(self.action_path),
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self._temp / "summary.md"),
            **{name: self._resolved(value, inputs) for name, value in step["env"].items()},
        }
        done = subprocess.run(
            [*BASH, str(script)], cwd=self.workspace, env=environment, capture_output=True, text=True, check=False
        )
        self.log += done.stdout + done.stderr
        self.code = done.returncode
        lines = [line.partition("=") for line in output.read_text(encoding="utf-8").splitlines()]
        self.outputs[step["id"]] = {name: value for name, _, value in lines}

    def _resolved(self, text: str, inputs: dict[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            kind, name, *rest = match[1].split(".")
            return inputs[name] if kind == "inputs" else self.outputs.get(name, {}).get(rest[1], "")

        return EXPRESSION.sub(value, text)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    workspace = tmp_path / "work space"
    workspace.mkdir()
    write_tflite(workspace / "my model.tflite")
    return Runner(workspace)


def test_inputs_reach_the_shell_as_environment_variables_alone() -> None:
    assert [step["name"] for step in STEPS if "${{" in step["run"]] == []
    assert all(step["shell"] == "bash" for step in STEPS)


def test_every_input_is_used_and_told() -> None:
    used = {
        match.split(".")[1] for step in STEPS for value in step["env"].values() for match in EXPRESSION.findall(value)
    }

    assert used >= set(ACTION["inputs"])
    assert all(told["description"] and "default" in told for told in ACTION["inputs"].values())


def test_a_sound_model_passes_with_every_report(runner: Runner) -> None:
    runner.run(version="installed", models="*.tflite", budget="size_kib=2\n  macs=10000 \n\n", targets="pixel-8")
    report = json.loads((runner.workspace / runner.output("json")).read_text())

    assert (runner.code, runner.output("verdict")) == (0, "pass"), runner.log
    assert [(each["model"], each["target"]) for each in report["checks"]] == [("my model.tflite", "pixel-8")]
    assert [line["budget"] for line in report["checks"][0]["budget"]] == ["macs", "size_kib"]
    assert all((runner.workspace / runner.output(name)).is_file() for name in ("sarif", "junit", "markdown"))
    assert runner.summary.startswith("<!-- edgepress check -->")


def test_a_missed_budget_fails_the_step_and_annotates_the_file(runner: Runner) -> None:
    runner.run(version="installed", models="my model.tflite", budget="size_kib=1")

    assert (runner.code, runner.output("verdict")) == (1, "fail")
    assert "::error file=my model.tflite,title=budget-missed" in runner.log
    assert "budget-missed" in runner.summary


def test_wrong_input_is_an_error_without_old_reports(runner: Runner) -> None:
    runner.run(version="installed", models="my model.tflite")
    assert runner.output("json")

    runner.run(version="installed", models="none/*.onnx")
    assert (runner.code, runner.output("verdict"), runner.output("json")) == (2, "error", "")
    assert "none/*.onnx" in runner.log


def test_without_models_the_settings_say_what_is_checked(runner: Runner) -> None:
    write_onnx(runner.workspace / "model.onnx")
    (runner.workspace / "edgepress.toml").write_text('schema = 1\nmodels = ["*.onnx"]\n')
    runner.run(version="installed")

    assert (runner.code, runner.output("verdict")) == (0, "pass"), runner.log


def test_strict_and_waivers_reach_the_check(runner: Runner) -> None:
    waivers = '[[waive]]\ncode = "budget-missed"\nreason = "x"\n'
    (runner.workspace / "waivers.toml").write_text(waivers)
    given = {"version": "installed", "models": "my model.tflite", "waivers": "waivers.toml", "budget": "size_kib=1"}

    assert runner.run(**given).code == 0
    assert runner.run(**given | {"strict": "true", "budget": "latency_ms=1"}).code == 1


@pytest.mark.parametrize("name", ["models", "targets", "budget", "config", "baseline", "device", "report", "version"])
def test_no_input_becomes_a_command(runner: Runner, name: str) -> None:
    hostile = "$(touch pwned) `touch pwned`; touch pwned; \"'\n--update-baseline\n::set-output name=verdict::pass"
    given = {"version": "installed", "models": "my model.tflite"} | {name: hostile}
    if name == "version":
        given["python"] = "false"  # nothing is installed: that the text stays one argument shows in the log
    runner.run(**given)

    assert runner.code != 0
    assert not list(runner.workspace.rglob("pwned"))
    assert not (runner.workspace / "--update-baseline").exists()


@pytest.mark.slow
def test_the_action_installs_its_own_source_into_an_environment_of_its_own(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    runner.action_path = source
    runner.run(models="*.tflite", python=sys.executable)
    installed = Path(runner.outputs["install"]["edgepress"])

    assert (runner.code, runner.output("verdict")) == (0, "pass"), runner.log
    assert installed == tmp_path / "runner temp" / "edgepress" / "bin" / "edgepress"
    assert (
        subprocess.run(
            [str(installed.with_name("python")), "-c", "import torch"], check=False, capture_output=True
        ).returncode
        == 1
    )
