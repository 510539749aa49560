"""A newcomer's two paths through the README: every command runs as it stands there, and prints what was pasted."""

import re
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests import readme_paths as paths
from tests.small_files import write_tflite
from tests.test_action import Runner

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Walked:
    """Where the paths were walked, and what each command printed."""

    folder: Path
    told: dict[str, str]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    folder = tmp_path_factory.mktemp("paths")
    (folder / "work").mkdir()
    told = {}
    with paths.board_in_the_house(folder) as home:
        for command in (command for name in paths.PATHS for command in paths.commands(README, name)):
            done = paths.run(command, folder / "work", home)
            assert done.returncode == 0, f"{command}\n{done.stdout}"
            told[command] = done.stdout
    return Walked(folder / "work", told)


def skeleton(line: str) -> str:
    """Return a line without its figures and its widths."""
    return " ".join(re.sub(r"[\d.,]+|\w*\d\w*", "N", line).split())


def test_every_command_prints_what_was_pasted(walked: Walked) -> None:
    for name in paths.PATHS:
        told = {command: walked.told[command] for command in paths.commands(README, name)}
        fresh, kept = (paths.block(text, name) for text in (paths.pasted(README, name, told), README))
        begun = [
            [skeleton(part.strip().splitlines()[line]) for part in text.split("    $ ")[1:] for line in (0,)]
            for text in (fresh, kept)
        ]

        assert begun[0] == begun[1]
        assert all(len(part.strip().splitlines()) > 1 for part in kept.split("    $ edgepress")[1:]), (
            "nothing is pasted"
        )


def test_the_board_measured_the_model_that_was_made(walked: Walked) -> None:
    [told] = [text for command, text in walked.told.items() if "ssh://board" in command]

    assert "measured" in told
    assert "ssh://board" in told


def test_the_gate_of_the_path_passes_in_the_action_and_fails_for_another_model(walked: Walked, tmp_path: Path) -> None:
    part = README[README.index("<!-- /gate -->") :]
    written = textwrap.dedent(re.findall(r"(?:^    .*\n)+", part, re.MULTILINE)[0])
    steps = yaml.safe_load(written)["jobs"]["edgepress"]["steps"]
    [given] = [step["with"] for step in steps if "edgepress" in step["uses"]]
    shutil.copytree(walked.folder, tmp_path / "repository")
    runner = Runner(tmp_path / "repository")

    assert runner.run(version="installed", **given).code == 0, runner.log
    write_tflite(tmp_path / "repository" / "model.tflite", transposed=True)
    assert runner.run(version="installed", **given).code == 1
    assert "baseline-" in runner.log
