"""Tab, as each shell asks for it: by the environment, and through the functions that `--show-completion` prints."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devices import backends
from pipeline.verbs.completion import device_names
from targets import known_targets

EDGEPRESS = Path(sys.executable).with_name("edgepress")


def offered(shell: str, line: str) -> list[str]:
    """Return what a shell is told for a line that ends where Tab is pressed."""
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {**os.environ, **asked, "_EDGEPRESS_COMPLETE": f"complete_{shell}"}
    done = subprocess.run([EDGEPRESS], env=environment, capture_output=True, text=True, check=True, timeout=60)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return [match[1] if (match := re.search(r'"([^"]+)"', line)) else line.split()[0] for line in lines]  # zsh quotes


SHELLS = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])


@SHELLS
@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("edgepress run dig", ["digits", "digits-ctc", "digits-ctc-smoke", "digits-teachers"]),
        ("edgepress run digits --target nucleo-", ["nucleo-h743zi", "nucleo-l4r5zi"]),
        ("edgepress bench model.tflite --device r", ["replay"]),
        ("edgepress run digits --device raspberry-pi-4=q", ["raspberry-pi-4=qemu"]),
        ("edgepress targets corst", ["corstone-300"]),
        ("edgepress check --target imx", ["imx93-evk"]),
        ("edgepress doc", ["doctor"]),
    ],
)
def test_every_shell_is_offered_the_names_that_begin_so(shell: str, line: str, names: list[str]) -> None:
    assert [name for name in offered(shell, line) if name in names] == names


@SHELLS
def test_a_file_is_left_to_the_shell(shell: str) -> None:
    found = offered(shell, "edgepress run leaves/rec")

    assert [word for word in found if word != "_files"] == []


def test_every_target_and_every_device_is_offered() -> None:
    assert offered("bash", "edgepress targets ") == list(known_targets())
    assert device_names("") == sorted(backends())


def test_tab_answers_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.cli import app\n"
        "try: app(prog_name='edgepress')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'ai_edge_litert', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    asked = {"_EDGEPRESS_COMPLETE": "complete_bash", "COMP_WORDS": "edgepress run --device ", "COMP_CWORD": "3"}
    before = os.times().children_user
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    assert os.times().children_user - before < 1


def test_bash_completes_with_the_script_that_is_shown(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    show: list[str | Path] = [
        bash,
        "--norc",
        "-c",
        '"$0" --show-completion; exit $?',
        EDGEPRESS,
    ]  # it looks which shell has called it
    script = subprocess.run(show, capture_output=True, text=True, check=True).stdout
    asked = 'COMP_WORDS=(edgepress run keyw); COMP_CWORD=2; _edgepress_completion edgepress; echo "${COMPREPLY[@]}"'
    environment = {**os.environ, "PATH": f"{EDGEPRESS.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "--norc", "-c", f"{script}\n{asked}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == ["keywords", "keywords-smoke"]
