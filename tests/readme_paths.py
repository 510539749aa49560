"""The README's two paths for a newcomer, run as they stand there: a model on a board (a real sshd stands for it), and a gate in CI.

`.venv/bin/python tests/paste_readme.py paths` runs them and pastes what they print; `tests/test_readme_paths.py` runs them again.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.devices.boards import ssh_board

PATHS = ("board", "gate")
BIN = Path(sys.executable).parent
MOST_LINES, FIRST, LAST = 20, 3, 3
"""An output longer than the first shows so many lines of its beginning and its end."""


def marks(name: str) -> tuple[str, str]:
    """Return what stands before and behind a path's block in the README."""
    return f"<!-- {name}: pasted by tests/paste_readme.py, never by hand -->", f"<!-- /{name} -->"


def block(readme: str, name: str) -> str:
    """Return what stands between a path's marks."""
    begin, end = marks(name)
    return readme.partition(begin)[2].partition(end)[0]


def commands(readme: str, name: str) -> list[str]:
    """Return the commands of a path, those that install left out."""
    return re.findall(r"^    \$ (?!pip )(.+)$", block(readme, name), re.MULTILINE)


def pasted(readme: str, name: str, told: dict[str, str]) -> str:
    """Return the README with each command of a path followed by what it printed."""
    begin, end = marks(name)
    before, _, rest = readme.partition(begin)
    lines = []
    for line in re.findall(r"^    \$ .+$", block(readme, name), re.MULTILINE):
        lines.append(line)
        lines += [f"    {shown}".rstrip() for shown in short(told.get(line.removeprefix("    $ "), ""))]
    return f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{rest.partition(end)[2]}"


def short(text: str) -> list[str]:
    """Return an output's lines, the middle of a long one left out."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines if len(lines) <= MOST_LINES else [*lines[:FIRST], "...", *lines[-LAST:]]


def run(command: str, folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the README in a folder, with a home folder of its own."""
    words = shlex.split(command, comments=True)
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "150"}
    return subprocess.run(
        [str(BIN / words[0]) if words[0] == "edgepress" else words[0], *words[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@contextmanager
def board_in_the_house(folder: Path) -> Iterator[Path]:
    """Give a home folder whose ssh configuration knows a host `board`: an sshd of this machine, with a Python."""
    with ssh_board(folder / "sshd") as board:
        board.install("python3", f'exec {shlex.quote(sys.executable)} "$@"')
        board.spec()  # writes the host's key down
        home = folder / "home"
        (home / ".ssh").mkdir(parents=True)
        keys = f'IdentityFile "{board.folder}/user_key"\n  UserKnownHostsFile "{board.folder}/known_hosts"'
        config = f"Host board\n  HostName 127.0.0.1\n  Port {board.port}\n  {keys}\n"
        (home / ".ssh" / "config").write_text(config, encoding="utf-8")
        yield home
