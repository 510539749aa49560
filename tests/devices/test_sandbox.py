"""The bounded subprocess: each limit holds, and nothing of the child is left."""

import os
import sys
import time
from pathlib import Path

import pytest

from devices.sandbox import UNFLUSHED, Limits, explain, run_bounded, run_python
from pipeline.errors import DeviceError


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "child.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_child_that_ends_well_gives_its_outputs(tmp_path: Path) -> None:
    child = script(tmp_path, "import sys; print('out', sys.argv[1]); print('err', file=sys.stderr)")

    done = run_python(child, ["given"])

    assert (done.ok, done.code, done.stdout, done.stderr) == (True, 0, "out given\n", "err\n")


def test_a_child_that_never_ends_is_stopped(tmp_path: Path) -> None:
    done = run_python(script(tmp_path, "while True: pass"), [], limits=Limits(wall_seconds=0.5))

    assert done.timed_out
    assert done.seconds < 5
    assert "stopped after" in explain(done)


def test_its_grandchildren_end_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    child = script(
        tmp_path,
        f"import subprocess, sys, pathlib\np = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\npathlib.Path({str(mark)!r}).write_text(str(p.pid))",
    )

    done = run_python(child, [])

    assert done.ok
    assert _gone(int(mark.read_text(encoding="ascii")))


@pytest.mark.parametrize(
    ("text", "limits", "why"),
    [
        ("x = bytearray(2**31)", Limits(memory_mib=512), "MemoryError"),
        ("while True: pass", Limits(cpu_seconds=1, wall_seconds=30), "used up its processor time|crashed with SIGKILL"),
        ("open('large', 'wb').write(bytes(2**22))", Limits(file_mib=1), "File too large|wrote too much"),
        ("files = [open('/dev/null') for _ in range(99)]", Limits(open_files=32), "Too many open files"),
        ("import os; os.abort()", Limits(), "crashed with SIGABRT"),
        ("import sys; sys.exit('no such thing')", Limits(), "ended with 1: no such thing"),
    ],
)
def test_a_child_that_breaks_a_limit_fails_and_says_why(tmp_path: Path, text: str, limits: Limits, why: str) -> None:
    done = run_python(script(tmp_path, text), [], limits=limits, cwd=tmp_path)

    assert not done.ok
    assert any(part in explain(done) for part in why.split("|"))


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
@pytest.mark.parametrize("grandchild", [False, True])
def test_a_child_reaches_no_network(tmp_path: Path, family: str, *, grandchild: bool) -> None:
    ask = f"import socket; socket.socket(socket.{family}, socket.SOCK_RAW if {family!r} == 'AF_NETLINK' else socket.SOCK_STREAM)"
    starter = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {ask!r}]).returncode)"

    done = run_python(script(tmp_path, starter if grandchild else ask), [])

    assert not done.ok
    assert "PermissionError: [Errno 13]" in done.stderr


def test_processes_of_a_child_may_talk_to_each_other(tmp_path: Path) -> None:
    done = run_python(script(tmp_path, "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"), [])

    assert done.stdout == "b'x'\n"


def test_captured_output_is_cut_at_its_limit(tmp_path: Path) -> None:
    done = run_python(script(tmp_path, "print('x' * 10**6)"), [], limits=Limits(output_kib=1))

    assert len(done.stdout) == 1024


def test_a_full_disk_is_told_where_a_child_could_not_speak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses the child's last words as the full disk would; how much room there is, is made up."""
    child = script(tmp_path, "import sys; sys.stdout = open('/dev/full', 'w'); print('last words')")
    assert run_python(child, []).code == UNFLUSHED
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 100, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)

    with pytest.raises(DeviceError, match="is full, so that a process under limits could say nothing; free some space"):
        run_python(child, [])


def test_the_environment_holds_none_of_the_callers_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    done = run_python(script(tmp_path, "import os; print(sorted(os.environ))"), [])

    assert "SECRET_TOKEN" not in done.stdout
    assert "PYTHONPATH" not in done.stdout


def test_a_folder_beside_the_script_shadows_no_package(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')", encoding="utf-8")

    done = run_python(script(tmp_path, "import json; print(json.dumps(1))"), [], cwd=tmp_path)

    assert done.stdout == "1\n"


def test_a_command_that_is_not_there_ends_in_an_error(tmp_path: Path) -> None:
    assert not run_bounded([str(tmp_path / "nothing")]).ok
    with pytest.raises(DeviceError, match="can't start"):
        run_bounded([sys.executable], cwd=tmp_path / "nowhere")


def _gone(pid: int) -> bool:
    """Wait until a killed process is gone or a mere zombie."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
