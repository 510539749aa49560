"""Boards over ssh, by a real sshd on loopback: what comes home, what is refused, and that nothing stays behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from devices import QUICK, open_device, python_board, set_up
from devices import leases as leases_module
from devices.leases import lease
from devices.ssh import _why_not_connected, connect
from pipeline.errors import DeviceError, MissingExtraError
from tests.devices.boards import Line, SshBoard, gone, running, ssh_board, until
from tests.small_files import write_onnx, write_tflite

ONCE = replace(QUICK, processes=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBoard]:
    with ssh_board(tmp_path_factory.mktemp("ssh") / "board") as found:
        yield found


@pytest.fixture(autouse=True)
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_LEASES", str(tmp_path / "leases"))
    return tmp_path / "leases"


@pytest.fixture
def board(server: SshBoard) -> Iterator[SshBoard]:
    yield server
    assert server.left() == []


@pytest.fixture
def line(board: SshBoard) -> Iterator[Line]:
    found = Line(board.port)
    yield found
    found.close()


def test_both_formats_are_measured_there_by_the_runtimes_that_are_there(tmp_path: Path, board: SshBoard) -> None:
    models = [write_onnx(tmp_path / "m.onnx"), write_tflite(tmp_path / "a name; touch 'x' $(touch y).tflite")]
    device = open_device(board.spec())

    measured = [each[0] for each in device.measure(models, ONCE)]

    assert [each.runtime for each in measured] == ["onnxruntime", "litert"]
    assert {each.label for each in measured} == {"measured"}
    assert {each.device for each in measured} == {f"ssh://127.0.0.1:{board.port}"}
    assert all(each.how.startswith("on core ") and each.samples >= QUICK.min_runs for each in measured)


def test_a_file_is_pushed_once_and_kept_only_when_asked(tmp_path: Path, server: SshBoard) -> None:
    model, python = write_tflite(tmp_path / "m.tflite"), server.fake_python()
    kept = open_device(server.spec("keep=1", python=python))

    kept.measure([model], ONCE)
    times = {name: (server.home / name).stat().st_mtime_ns for name in server.left()}
    kept.measure([model], ONCE)
    again = {name: (server.home / name).stat().st_mtime_ns for name in server.left()}
    open_device(server.spec(python=python)).measure([model], ONCE)

    assert len(times) == 2
    assert times == again
    assert server.left() == []


def test_two_measurements_of_one_board_take_turns_and_leave_each_other_alone(
    tmp_path: Path, board: SshBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    log, model = tmp_path / "log", write_tflite(tmp_path / "m.tflite")
    spec = board.spec(python=board.fake_python(f'echo start >>{log}; sleep 0.2; echo "end $1" >>{log}'))

    with ThreadPoolExecutor(2) as threads:
        long = threads.submit(lambda: open_device(spec).measure([model], replace(QUICK, processes=4)))
        assert until(log.exists)
        short = threads.submit(lambda: open_device(spec.replace("ssh://", "ssh://root@")).measure([model], ONCE))
        [[first, *_], [second, *_]] = [*long.result(), *short.result()]

    assert (first.processes, second.processes) == (4, 1)
    assert [line.split()[0] for line in log.read_text(encoding="utf-8").splitlines()] == ["start", "end"] * 5
    assert capsys.readouterr().err.endswith("is at work for another measurement; waiting for it, 60 minutes at most\n")


def test_who_waits_too_long_for_a_board_is_told(
    tmp_path: Path, board: SshBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "WAIT_SECONDS", 0.1)
    device = open_device(board.spec(python=board.fake_python()))

    with ThreadPoolExecutor(1) as threads, lease(device.name) as free:
        waiting = threads.submit(lambda: device.measure([write_tflite(tmp_path / "m.tflite")], ONCE))
        with pytest.raises(DeviceError, match=r"ssh://.* was at work for others for 0 minutes; try again later"):
            waiting.result()
    assert free


def test_a_lease_that_cannot_be_kept_is_one_line(board: SshBoard, leases: Path) -> None:
    device = open_device(board.spec(python=board.fake_python()))
    assert device.machine
    [lock] = leases.iterdir()
    lock.unlink()
    lock.mkdir()

    with pytest.raises(
        DeviceError, match=rf"leases of boards can't be kept: {lock} \(.*name another folder in EDGEPRESS_LEASES"
    ):
        device.measure([board.folder / "user_key"], ONCE)


def test_another_user_may_take_a_lease_over(board: SshBoard, leases: Path) -> None:
    assert open_device(board.spec(python=board.fake_python())).machine

    assert [oct(lock.stat().st_mode & 0o777) for lock in leases.iterdir()] == ["0o666"]


def test_a_damaged_file_there_is_pushed_anew(tmp_path: Path, server: SshBoard) -> None:
    model, python = write_tflite(tmp_path / "m.tflite"), server.fake_python()
    open_device(server.spec("keep=1", python=python)).measure([model], ONCE)
    [there] = [server.home / name for name in server.left() if name.endswith("/model")]
    there.write_bytes(b"damaged")

    [(measured, *_)] = open_device(server.spec(python=python)).measure([model], ONCE)

    assert measured.model_sha256 == there.parent.name
    assert server.left() == []


def test_a_connection_that_breaks_once_is_taken_up_again(tmp_path: Path, board: SshBoard, line: Line) -> None:
    model, slow = write_tflite(tmp_path / "m.tflite"), board.fake_python("sleep 0.4")
    cutting = line.cut_when(board.model_is_at_work, 1)

    [(measured, *_)] = open_device(board.spec(port=line.port, python=slow)).measure([model], ONCE)

    cutting.join()
    assert measured.value == 101.0
    assert gone(measured.model_sha256)


def test_a_connection_that_breaks_twice_is_one_clear_line(tmp_path: Path, board: SshBoard, line: Line) -> None:
    model, slow = write_tflite(tmp_path / "m.tflite"), board.fake_python("sleep 0.4")
    line.cut_when(board.model_is_at_work, 2)

    with pytest.raises(DeviceError, match=r"the connection broke twice \(.*\); see to the link"):
        open_device(board.spec(port=line.port, python=slow)).measure([model], ONCE)
    assert gone(sha256(model.read_bytes()).hexdigest())


def test_a_board_that_stays_away_says_what_it_still_holds(tmp_path: Path, server: SshBoard) -> None:
    model, slow = write_tflite(tmp_path / "m.tflite"), server.fake_python("sleep 5")
    line = Line(server.port)
    device = open_device(server.spec(port=line.port, python=slow))
    assert device.machine
    line.cut_when(server.model_is_at_work, 1, for_good=True)

    with pytest.raises(
        DeviceError, match=r"can't be taken up again: .*; what was pushed may still be in .cache/edgepress"
    ):
        device.measure([model], ONCE)
    assert gone(sha256(model.read_bytes()).hexdigest())
    assert until(lambda: server.left() == [])


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT])
def test_a_caller_that_is_stopped_leaves_nothing(tmp_path: Path, board: SshBoard, ended_by: signal.Signals) -> None:
    model, slow = write_tflite(tmp_path / "m.tflite"), board.fake_python("exec sleep 602")
    code = f"from devices import QUICK, open_device; from pathlib import Path; open_device({board.spec(python=slow)!r}).measure([Path({str(model)!r})], QUICK)"

    with subprocess.Popen([sys.executable, "-P", "-c", code], stderr=subprocess.DEVNULL) as caller:
        assert until(board.model_is_at_work)
        caller.send_signal(ended_by)

    assert until(lambda: board.left() == [])
    assert gone("sleep\x00602")


def test_a_board_that_cannot_hold_our_files_is_one_line(tmp_path: Path, server: SshBoard) -> None:
    python = server.fake_python()
    (server.home / ".cache").rmdir()
    (server.home / ".cache").touch()

    with pytest.raises(DeviceError, match=r"can't hold our files in \.cache/edgepress: it ended with 1: mkdir"):
        open_device(server.spec(python=python)).measure([write_tflite(tmp_path / "m.tflite")], ONCE)
    (server.home / ".cache").unlink()


def test_a_model_that_hangs_is_stopped_there(tmp_path: Path, board: SshBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    model, hanging = write_tflite(tmp_path / "m.tflite"), board.fake_python("exec sleep 600")
    monkeypatch.setattr(python_board, "wall_seconds", lambda _: 0.5)

    with pytest.raises(DeviceError, match=r"can't run m.tflite: it stopped after"):
        open_device(board.spec(python=hanging)).measure([model], ONCE)
    assert gone("sleep\x00600")


@pytest.mark.parametrize(
    ("run", "why"),
    [
        ("echo 'ImportError: no numpy' >&2; exit 3", "ended with 3: ImportError: no numpy"),
        ("kill -SEGV $$", "crashed with SIGSEGV"),
        ("while :; do :; done", "used up its processor time"),
        ("echo '{}'; exit 0", "report is broken"),
        ("head -c 9000000 /dev/zero; exit 0", "printed more than 8 MiB"),
    ],
)
def test_a_model_that_fails_there_is_one_line(
    tmp_path: Path, board: SshBoard, monkeypatch: pytest.MonkeyPatch, run: str, why: str
) -> None:
    model, failing = write_tflite(tmp_path / "m.tflite"), board.fake_python(run)
    monkeypatch.setattr(python_board, "CPU_SECONDS_A_SECOND", 0.01)

    with pytest.raises(DeviceError, match=why) as caught:
        open_device(board.spec(python=failing)).measure([model], ONCE)
    assert "\n" not in str(caught.value)
    assert not running("fake_python")


def test_throttling_makes_a_measurement_invalid_and_a_governor_is_told(tmp_path: Path, board: SshBoard) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    board.install("vcgencmd", "echo throttled=0x50004")

    [(measured, *_)] = open_device(board.spec(python=board.fake_python())).measure([model], ONCE)

    (board.home / "bin/vcgencmd").unlink()
    assert not measured.valid
    assert "the board was throttled (get_throttled says 0x50004)" in measured.why_invalid


def test_the_fastest_cores_are_used_unless_the_user_names_some(tmp_path: Path, board: SshBoard) -> None:
    model, python = write_tflite(tmp_path / "m.tflite"), board.fake_python()
    free, pinned = open_device(board.spec(python=python)), open_device(board.spec("cores=1,0", python=python))

    assert free.measure([model], ONCE)[0][0].how == "on core 3"
    assert free.measure([model], replace(ONCE, threads=2))[0][0].how == "on cores 2,3"
    assert pinned.measure([model], ONCE)[0][0].how == "on cores 0,1"
    assert (free.machine, pinned.machine) == (
        "Fake Pi 4 Model B, 4 cores, Linux aarch64",
        "Fake Pi 4 Model B, 4 cores, Linux aarch64, on cores 0,1",
    )
    with pytest.raises(DeviceError, match="3 threads want 3 cores; usable: 2"):
        pinned.measure([model], replace(ONCE, threads=3))
    with pytest.raises(DeviceError, match="has no core 9; it has 0,1,2,3"):
        open_device(board.spec("cores=9", python=python)).measure([model], ONCE)


@pytest.mark.parametrize(
    ("packages", "why"),
    [
        ({}, "lacks numpy or a runtime for .*; there: .* -m pip install numpy ai-edge-litert"),
        ({"numpy": "2.1", "onnxruntime": "1.31.1"}, "has only numpy 2.1, onnxruntime 1.31.1; there: "),
        (
            {"numpy": "2.1", "tflite-runtime": "2.14.0"},
            "tflite-runtime 2.14.0 fails with numpy 2.1; there: .*'numpy<2'",
        ),
    ],
)
def test_a_board_that_lacks_a_runtime_is_told_what_to_install(
    tmp_path: Path, board: SshBoard, packages: dict[str, str], why: str
) -> None:
    device = open_device(board.spec(python=board.fake_python(probed={"packages": packages})))

    with pytest.raises(DeviceError, match=why):
        device.measure([write_tflite(tmp_path / "m.tflite")], ONCE)


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("/nowhere/python3", r"/nowhere/python3 doesn't run there: it ended with 127: .*not found.*\?python="),
        ("/bin/echo", "can't be read"),
    ],
)
def test_a_board_without_a_fit_python_is_told_so(board: SshBoard, python: str, why: str) -> None:
    with pytest.raises(DeviceError, match=why):
        _ = open_device(board.spec(python=python)).machine


def test_an_old_python_is_refused(board: SshBoard) -> None:
    with pytest.raises(DeviceError, match=r"has Python 3\.7\.1; the runner needs 3\.8"):
        _ = open_device(board.spec(python=board.fake_python(probed={"python": [3, 7, 1]}))).machine


def test_an_unknown_host_is_never_accepted(tmp_path: Path, board: SshBoard) -> None:
    spec = board.spec()
    (board.folder / "known_hosts").write_text("", encoding="ascii")
    other = (board.folder / "user_key.pub").read_text(encoding="ascii").split()
    changed = tmp_path / "changed"
    changed.write_text(f"[127.0.0.1]:{board.port} {other[0]} {other[1]}\n", encoding="ascii")

    for known in (spec, spec.replace(str(board.folder / "known_hosts"), str(changed))):
        with pytest.raises(DeviceError, match=r"compare fingerprints .*ssh-keygen -lf.* by hand: ssh -p \d+ "):
            _ = open_device(known).machine


def test_a_configuration_that_checks_no_host_is_refused_and_one_that_does_is_used(
    tmp_path: Path, board: SshBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.spec()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    config = tmp_path / ".ssh/config"
    common = (
        f"Host pi\n HostName 127.0.0.1\n Port {board.port}\n IdentityFile {board.folder}/user_key\n UserKnownHostsFile "
    )

    config.write_text(f"{common}none\n", encoding="utf-8")
    with pytest.raises(DeviceError, match="edgepress never does"):
        _ = open_device("ssh://pi").machine
    config.write_text(f"{common}{board.folder}/known_hosts\n", encoding="utf-8")
    assert open_device(f"ssh://pi?python={board.fake_python()}").machine.startswith("Fake Pi")


def test_a_key_that_is_not_taken_or_not_there_is_one_line(tmp_path: Path, board: SshBoard) -> None:
    spec = board.spec()
    other = spec.replace(f"{board.folder}/user_key", f"{board.folder}/host_key")

    with pytest.raises(DeviceError, match="none of our keys is taken there"):
        _ = open_device(other).machine
    with pytest.raises(DeviceError, match=f"no file {tmp_path}/nothing"):
        _ = open_device(spec.replace(f"{board.folder}/user_key", f"{tmp_path}/nothing")).machine


def test_a_board_that_is_off_is_one_line(board: SshBoard) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(DeviceError, match=r"can't connect \(.*\); see whether ssh -p"):
        _ = open_device(board.spec(port=port)).machine
    assert "no host 'pi' is known" in _why_not_connected("ssh://pi", {"host": "pi"}, socket.gaierror())


def test_a_user_without_a_name_is_told_what_to_set(board: SshBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = board.spec(python=board.fake_python())
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # a container's, of which its passwd knows nothing

    with pytest.raises(DeviceError, match=r"ssh needs one; set LOGNAME, and name the board's user: ssh://USER@host"):
        _ = open_device(spec).machine
    monkeypatch.setenv("LOGNAME", "somebody")
    assert open_device(spec.replace("ssh://", "ssh://root@")).machine


def test_a_caller_may_have_an_event_loop_of_its_own(board: SshBoard) -> None:
    async def caller() -> str:
        return open_device(board.spec(python=board.fake_python())).machine

    assert asyncio.run(caller()).startswith("Fake Pi")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("ssh://", "write ssh://user@host"),
        ("ssh:board", "write ssh://user@host"),
        ("ssh://pi:secret@board", "keys stand for passwords"),
        ("ssh://board/folder", "write ssh://user@host"),
        ("ssh://board:seven", "write ssh://user@host:port"),
        ("ssh://board?core=1", "no option 'core'; known: cores, .*did you mean 'cores'"),
        ("ssh://board?cores=a", "isn't a list of cores"),
        ("ssh://board?cores=", "needs one value"),
        ("ssh://board?keep=yes", "neither 0 nor 1"),
        ("ssh://board?key=~nobodyx/k", "'~nobodyx/k' begins with nobody's home folder; give the whole path"),
        ("ssh://board?known_hosts=~nobodyx/k", "begins with nobody's home folder"),
    ],
)
def test_a_spec_that_is_wrong_is_one_line(spec: str, why: str) -> None:
    with pytest.raises(DeviceError, match=why):
        connect(spec, None)


def test_without_asyncssh_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)

    with pytest.raises(MissingExtraError, match=r"edgepress\[boards\]"):
        _ = open_device("ssh://board").machine


@pytest.mark.slow
def test_the_whole_way_runs_on_arm_binaries(tmp_path: Path, server: SshBoard) -> None:
    set_up("qemu", print)
    device = open_device(server.spec(python=server.arm_python()))

    [(measured, *_)] = device.measure([write_tflite(tmp_path / "m.tflite")], ONCE)

    assert device.machine.endswith("Linux aarch64")
    assert (measured.runtime, measured.samples >= ONCE.min_runs) == ("litert", True)
    assert server.left() == []
