"""Pools: a board is leased by one measurement at a time, a dead one is taken out and told, and the work goes on."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from devices import QUICK, open_device
from devices.pool import OUT_SECONDS, Pool
from pipeline.errors import DeviceError
from tests.devices.boards import Line, SshBoard, ssh_board
from tests.small_files import write_tflite

ONCE = replace(QUICK, processes=1)
LOGS = 'echo "start $(date +%s.%N)" >>{log}; sleep 0.3; echo "end $(date +%s.%N)" >>{log}'


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[SshBoard, SshBoard]]:
    with ssh_board(tmp_path / "one") as one, ssh_board(tmp_path / "two") as two:
        yield one, two


@pytest.fixture(autouse=True)
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_LEASES", str(tmp_path / "leases"))
    return tmp_path / "leases"


def pool(*specs: str) -> Pool:
    found = open_device(f"pool:{','.join(specs)}")
    assert isinstance(found, Pool)
    return found


def times(log: Path) -> list[str]:
    return [
        line.split()[0]
        for line in sorted(log.read_text(encoding="utf-8").splitlines(), key=lambda line: line.split()[1])
    ]


def test_leases_never_overlap_and_every_board_works(tmp_path: Path, two: tuple[SshBoard, SshBoard]) -> None:
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    specs = [board.spec(python=board.fake_python(LOGS.format(log=log))) for board, log in zip(two, logs, strict=True)]
    model = write_tflite(tmp_path / "m.tflite")

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: pool(*specs).measure([model], ONCE), range(6)))

    assert [measured.value for [(measured, *_)] in found] == [101.0] * 6
    assert sum(log.read_text(encoding="utf-8").count("start") for log in logs) == 6
    for log in logs:
        assert times(log) == ["start", "end"] * (len(times(log)) // 2)
        assert times(log)


def test_a_board_that_dies_is_taken_out_and_another_does_its_work(
    tmp_path: Path, two: tuple[SshBoard, SshBoard]
) -> None:
    dying, well = two
    line = Line(dying.port)
    specs = (dying.spec(port=line.port, python=dying.fake_python("sleep 0.4")), well.spec(python=well.fake_python()))
    line.cut_when(dying.model_is_at_work, 1, for_good=True)
    both = pool(*specs)

    [(measured, *_)] = both.measure([write_tflite(tmp_path / "m.tflite")], ONCE)

    assert measured.value == 101.0
    assert measured.device == f"ssh://127.0.0.1:{well.port}"
    [out] = pool(*specs).taken_out
    assert out.board == f"ssh://127.0.0.1:{line.port}"
    assert "can't be taken up again" in out.why


def test_a_file_that_fails_on_a_board_that_is_well_takes_nothing_out(
    tmp_path: Path, two: tuple[SshBoard, SshBoard]
) -> None:
    both = pool(*(board.spec(python=board.fake_python("exit 3")) for board in two))

    with pytest.raises(DeviceError, match=r"can't run m.tflite: it ended with 3"):
        both.measure([write_tflite(tmp_path / "m.tflite")], ONCE)
    assert both.taken_out == ()


def test_boards_that_never_answer_are_one_line_and_come_back_after_a_while(tmp_path: Path, leases: Path) -> None:
    away = pool("ssh://127.0.0.1:1", "ssh://127.0.0.1:2")

    with pytest.raises(
        DeviceError,
        match=r"every board of the pool is taken out \(ssh://127.0.0.1:1: .*; ssh://127.0.0.1:2: .*see to them",
    ):
        away.measure([write_tflite(tmp_path / "m.tflite")], ONCE)
    assert [out.board for out in away.taken_out] == ["ssh://127.0.0.1:1", "ssh://127.0.0.1:2"]

    for mark in leases.glob("*.out"):
        told = json.loads(mark.read_text(encoding="utf-8"))
        mark.write_text(json.dumps({**told, "since": time.time() - OUT_SECONDS - 1}), encoding="utf-8")
    assert away.taken_out == ()


@pytest.mark.parametrize("holder", ["pool:", ""])
def test_who_waits_too_long_for_a_board_is_told(tmp_path: Path, two: tuple[SshBoard, SshBoard], holder: str) -> None:
    board, model = two[0], write_tflite(tmp_path / "m.tflite")
    spec = board.spec(python=board.fake_python("sleep 3"))
    first = threading.Thread(target=lambda: open_device(f"{holder}{spec}").measure([model], ONCE))
    first.start()
    while not board.model_is_at_work():
        time.sleep(0.02)

    waiting = pool(spec)
    waiting.wait_seconds = 0.3
    with pytest.raises(DeviceError, match=r"no board of one of ssh://.* got free in 0 s; add boards"):
        waiting.measure([model], ONCE)
    first.join()


def test_a_board_that_cannot_be_marked_as_taken_out_is_one_line(tmp_path: Path, leases: Path) -> None:
    leases.mkdir()
    (leases / f"{sha256(b'ssh://127.0.0.1:1').hexdigest()[:16]}.out").mkdir()

    with pytest.raises(DeviceError, match=r"leases of boards can't be kept: .*name another folder in EDGEPRESS_LEASES"):
        pool("ssh://127.0.0.1:1").measure([write_tflite(tmp_path / "m.tflite")], ONCE)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("pool:", "is no pool; name each board once"),
        ("pool:ssh://a,ssh://a?cores=1", "is no pool; name each board once"),
        ("pool:pool:ssh://a", "holds a pool"),
        ("pool:shh://a", "no device 'shh://a'.*did you mean 'ssh'"),
    ],
)
def test_what_is_no_pool_is_one_line(spec: str, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        open_device(spec)


def test_a_comma_in_an_option_parts_no_boards_and_options_stay_out_of_names() -> None:
    boards = pool("ssh://a?cores=2,3&key=/secret", "ssh://b:22").boards

    assert boards == {"ssh://a?cores=2,3&key=/secret": "ssh://a", "ssh://b:22": "ssh://b:22"}
    assert "secret" not in pool("ssh://a?key=/secret").machine
