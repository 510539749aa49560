"""How a run shows itself: in a terminal, a log, a terminal that can't move its cursor, and a notebook; each of them real."""

import os
import queue
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from pipeline.console import Now, clock
from pipeline.stage import Progress
from pipeline.starter import write_starter

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
"""Runs a command with a terminal of its own, and passes on what is typed: Ctrl-C comes from the terminal, as a user's does."""
OFTEN = "import pipeline.console as c; c.LOG_SECONDS = 0.05; from pipeline.cli import main; main()"
"""The command line with a line each twentieth of a second in a log."""
CONTROL = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\r")
CTRL_C = b"\x03"
PATIENCE_SECONDS = 120


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, command: list[str], folder: Path, **environment: str) -> None:
        given = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "110", "OMP_NUM_THREADS": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, *command],
            cwd=folder,
            env=given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.shown = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()  # the terminal goes, and with it what runs in it
        self.process.communicate()

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        """Read on until the terminal shows it."""
        assert self.process.stdout is not None
        until = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.search(pattern, self.shown)):
            more = os.read(self.process.stdout.fileno(), 4096)
            assert more, self.shown.decode()
            assert time.monotonic() < until, self.shown.decode()
            self.shown += more
        return found

    def interrupt(self) -> tuple[int, list[str]]:
        """Press Ctrl-C, and return the exit code and the lines that stay."""
        assert self.process.stdin is not None
        self.process.stdin.write(CTRL_C)
        self.process.stdin.flush()
        rest, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        text = CONTROL.sub("", (self.shown + rest).decode())
        return self.process.returncode, [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    write_starter(tmp_path)
    return tmp_path


LONG = ("run", "recipe.toml", "--set", "teach.epochs=900", "--set", "measure=false")


def test_ctrl_c_in_a_terminal_ends_with_130_and_says_where_the_same_command_goes_on(starter: Path) -> None:
    with Terminal([EDGEPRESS, *LONG], starter) as first:
        first.wait_for(
            rb"teach:wide  0%  epoch 3 of 900, loss [\d.]+, score [\d.]+, [\d:]+ left, [\d,]+ samples/s, \d:\d\d so"
        )
        code, lines = first.interrupt()
    told = re.fullmatch(
        r"\^?C?edgepress: interrupted in teach:wide, epoch (\d+) of 900; the same command goes on from there", lines[-1]
    )

    assert code == 130
    assert told, lines
    assert b"\x1b[" in first.shown

    with Terminal([sys.executable, "-c", OFTEN, *LONG], starter, TERM="dumb") as again:
        epoch = again.wait_for(rb"teach:wide: \d+%, epoch (\d+) of 900")[1]
        code, lines = again.interrupt()

    assert code == 130
    assert int(epoch) >= int(told[1]) > 2
    assert "interrupted in teach:wide" in lines[-1]
    assert b"\x1b" not in again.shown


def test_a_pipe_gets_whole_lines_and_no_control_character_whatever_the_environment_asks_for(starter: Path) -> None:
    command = [sys.executable, "-c", OFTEN, "teachers", "recipe.toml", "--set", "teach.epochs=2"]
    environment = {**os.environ, "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=starter, env=environment, capture_output=True, check=False)
    lines = done.stderr.decode().splitlines()

    assert re.search(rb"[\x00-\x09\x0b-\x1f]", done.stderr) is None
    assert any(
        re.fullmatch(r"teach:wide: \d+%, epoch 2 of 2, loss .*, score .*, .* left, .* samples/s, .* so far", line)
        for line in lines
    )
    assert any(re.fullmatch(r"teach:wide +[\d.]+ s  \w{12}  score [\d.]+", line) for line in lines)


def test_a_rate_is_of_the_last_half_minute_and_a_resumed_run_is_not_taken_for_a_fast_one() -> None:
    now = Now("distill", 100.0, Progress(0, 1, {}))
    now.take(Progress(0, 1, {}), 100.0)
    for second in range(60):
        now.take(Progress(500 + 2 * second, 1000, {"loss": 0.5}, samples=64 * (500 + 2 * second)), 110.0 + second)

    assert now.line(170.0) == "distill: 62%, loss 0.5, 3:10 left, 128 samples/s, 1:10 so far"


def test_a_step_without_parts_tells_its_time_alone() -> None:
    now = Now("quantize.onnx", 0.0, Progress(0, 1, {}))
    now.take(Progress(0, 1, {}), 0.0)

    assert now.line(7.2) == "quantize.onnx: 0:07 so far"


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, "0:00"), (59.6, "1:00"), (130, "2:10"), (3723, "1:02:03")])
def test_a_duration_is_shown_as_a_clock_does(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A notebook's kernel, in a folder with the starter's files."""
    from jupyter_client.manager import start_new_kernel

    folder = tmp_path_factory.mktemp("notebook")
    write_starter(folder)
    manager, client = start_new_kernel(cwd=str(folder), env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def cell(client: Any, code: str) -> list[dict[str, Any]]:
    """Run a cell and return what the notebook got: streams, displays, updates of displays, results."""
    got: list[dict[str, Any]] = []
    asked = client.execute(code)
    while True:
        try:
            message = client.get_iopub_msg(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            pytest.fail(f"the kernel is silent after {got[-3:]}")
        if message["parent_header"].get("msg_id") != asked:
            continue
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return got
        got.append({"type": message["msg_type"], **message["content"]})


def test_a_notebook_gets_one_line_that_changes_in_place(kernel: Any) -> None:
    code = (
        "import pipeline.console as c; c.NOTEBOOK_SECONDS = 0\nfrom pipeline import compress\nfrom task import task\n"
        "settings = {'stages': ['teach', 'distill'], 'teach': {'epochs': 2}, 'distill': {'epochs': 1}}\n"
        "settings |= {'audit': {'on_weak': 'skip'}, 'controls': False, 'measure': False}\n"
        "found = compress(task, ['pixel-8'], 'out', settings)"
    )
    got = cell(kernel, code)
    noise = [each for each in got if each["type"] == "error" or each.get("name") == "stderr"]
    updates = [each["data"]["text/plain"] for each in got if each["type"] == "update_display_data"]
    displays = [each for each in got if each["type"] == "display_data"]
    printed = "".join(each["text"] for each in got if each.get("name") == "stdout")

    assert [
        each for each in noise if "TqdmWarning" not in each.get("text", "")
    ] == []  # an importer of tqdm wants widgets
    assert any(re.match(r"teach:wide: \d+%, epoch 2 of 2, .* samples/s", text) for text in updates)
    assert updates[-1] == ""
    assert 1 <= len({each["transient"]["display_id"] for each in displays}) <= printed.count("\n")
    assert "teach:wide  " in printed


def test_a_notebook_shows_reports_one_of_them_and_an_artifact_as_tables(kernel: Any) -> None:
    cell(kernel, "from pathlib import Path; import rich; from pipeline.artifact import open_artifact")
    opened = "open_artifact(next(Path('.edgepress/objects').iterdir()))"
    all_of_them, report, artifact = (shown(kernel, each) for each in ("found", "found['pixel-8']", opened))

    assert report.startswith("<p>brightest-quarter on pixel-8: passed. No budget was set.</p><h4>brightest-quarter for")
    assert "<td>distill</td>" in report
    assert "<p>manifest.json, report.json, report.md in out/pixel-8</p>" in report
    assert all_of_them == report
    assert artifact.startswith("<table><tr><th>kind</th>")
    assert "brightest-quarter on pixel-8: passed." in shown(kernel, "rich.print(found)", kind="display_data")


def shown(kernel: Any, code: str, kind: str = "execute_result") -> str:
    """Return the HTML that a cell shows."""
    [page] = [each["data"]["text/html"] for each in cell(kernel, code) if each["type"] == kind]
    return str(page)
