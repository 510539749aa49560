"""The store behind the store: what one machine made another finds, over real SFTP too; what is damaged or hostile is made again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.artifact import digest_of
from pipeline.doctor.places import findings
from pipeline.errors import StoreError
from pipeline.run import explain
from pipeline.shared import VARIABLE, SharedStore, shared_store
from pipeline.store import Store
from tests.devices.boards import SFTP_CONFIG, SshBoard, ssh_board
from tests.small_engine import computed, made, numbers, plan_of
from tests.small_store import commit
from tests.small_task import bars

KEY = "a" * 64


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stores share by its URL."""
    monkeypatch.setenv(VARIABLE, (tmp_path / "far").as_uri())
    return tmp_path / "far"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBoard]:
    with ssh_board(tmp_path_factory.mktemp("server"), SFTP_CONFIG) as server:
        yield server


def given(store: Store, content: str = "{}") -> Path:
    """Make a result, share it, and return its record's path far away."""
    commit(store, KEY, content)
    found = store.find(KEY)
    assert found is not None
    store.share(*found)
    url = shared_store()
    assert url is not None
    return Path(url.url.removeprefix("file://")) / "runs" / f"{KEY}.json"


def test_what_one_store_made_another_finds_and_makes_nothing(place: Path, tmp_path: Path) -> None:
    first, second = made(Store(tmp_path / "one")), made(Store(tmp_path / "two"))

    assert (computed(first), computed(second)) == (["count", "one", "two"], [])
    assert numbers(first) == numbers(second)
    assert [done.artifact.digest for done in first] == [done.artifact.digest for done in second]
    assert [done.record for done in first] == [done.record for done in second]
    assert all(digest_of(done.artifact.path) == done.artifact.digest for done in second)
    assert len(list((place / "runs").iterdir())) == 3


def test_what_was_made_before_is_given_too_and_needs_the_place_no_more(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as alone:
        alone.delenv(VARIABLE)
        made(Store(tmp_path / "one"))
    assert not place.exists()

    assert computed(made(Store(tmp_path / "one"))) == []
    assert computed(made(Store(tmp_path / "two"))) == []
    monkeypatch.delenv(VARIABLE)
    assert computed(made(Store(tmp_path / "two"))) == []


def test_explain_finds_it(place: Path, tmp_path: Path) -> None:
    made(Store(tmp_path / "one"))
    assert place.is_dir()

    told = explain(plan_of(), bars(), Store(tmp_path / "two"), seed=0, name="numbers")

    assert [outlook.cached for outlook in told] == [True, True, True]


def test_what_is_damaged_is_made_again_and_mended(place: Path, tmp_path: Path) -> None:
    first = made(Store(tmp_path / "one"))
    [damaged] = (place / "objects" / first[1].artifact.digest).glob("costs.json")
    damaged.write_text("9", encoding="utf-8")

    with pytest.warns(UserWarning, match="is damaged .its bytes aren't those of its digest"):
        second = made(Store(tmp_path / "two"))

    assert (computed(second), numbers(second)) == (["one"], numbers(first))
    assert computed(made(Store(tmp_path / "three"))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": {"../x": 2}}, "'../x' is no name of a file in it"),
        ({"files": {"/etc/x": 2}}, "'/etc/x' is no name of a file in it"),
        ({"files": {"a//b": 2}}, "'a//b' is no name of a file in it"),
        ({"files": {"n" * 256: 2}}, "is no name of a file in it"),
        ({"files": {"costs.json": -1}}, "'costs.json' would have -1 bytes"),
        ({"files": {"costs.json": 2**60}}, f"'costs.json' would have {2**60} bytes, and {64 * 2**30} are the most"),
        ({"files": {"costs.json": 1}}, "'artifact.json'|artifact.json can't be read|no artifact"),
        ({"files": {"artifact.json": 2, "artifact.json/x": 2}}, "artifact.json/x|Not a directory|File exists"),
        ({"files": {"gone.json": 2}}, "gone.json"),
        ({"files": []}, "a record holds digest"),
        ({"parts": None}, "a record holds digest"),
        ({"seconds": -1.0}, "its seconds are -1.0"),
        ({"digest": "../../x"}, "its digest is '../../x'"),
        ({"digest": "f" * 64}, "f" * 64),
    ],
)
def test_a_hostile_record_is_a_miss_with_a_warning(
    place: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = given(Store(tmp_path / "one"))
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    before = set(tmp_path.rglob("*"))
    two = Store(tmp_path / "two")

    with pytest.warns(UserWarning, match=f"is damaged.*({said})"):
        assert two.find(KEY) is None

    assert {path for path in set(tmp_path.rglob("*")) - before if not path.is_relative_to(two.root)} == set()
    assert list((two.root / "objects").iterdir()) == []
    assert place.is_dir()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"digest": NaN}', "[" * 10**5, "\x00"])
@pytest.mark.usefixtures("place")
def test_a_record_that_is_none_is_a_miss_with_a_warning(tmp_path: Path, content: str) -> None:
    given(Store(tmp_path / "one")).write_text(content, encoding="utf-8")

    with pytest.warns(UserWarning, match="its record can't be read"):
        assert Store(tmp_path / "two").find(KEY) is None


def test_a_place_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gopher://me:secret@old/place")

    with pytest.raises(StoreError, match=r"EDGEPRESS_SHARED=gopher://old/place can't be opened .*gopher") as caught:
        made(Store(tmp_path / "one"))
    assert "secret" not in str(caught.value)
    assert SharedStore("ssh://me:se@cret@host/place").name == "ssh://host/place"


def test_a_place_that_can_not_be_reached_is_said_once_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "ssh://me:secret@127.0.0.1:1/place")

    with pytest.warns(UserWarning, match="can't be reached") as told:
        done = made(Store(tmp_path / "one"))

    assert (len(told), computed(done)) == (1, ["count", "one", "two"])
    assert str(told[0].message).startswith("ssh://127.0.0.1:1/place can't be reached (")
    assert "secret" not in str(told[0].message)


def test_a_place_that_can_only_be_read_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive: fsspec reads zip files and refuses to write them anew."""
    monkeypatch.setenv(VARIABLE, (tmp_path / "far").as_uri())
    made(Store(tmp_path / "one"))
    for path in (tmp_path / "far" / "runs").iterdir():
        if json.loads(path.read_text(encoding="utf-8"))["parts"]["config"].get("by") == 1:
            path.unlink()
    shutil.make_archive(str(tmp_path / "far"), "zip", tmp_path / "far")
    monkeypatch.setenv(VARIABLE, f"zip://::{(tmp_path / 'far.zip').as_uri()}")

    with pytest.warns(UserWarning, match="takes no results") as told:
        second = made(Store(tmp_path / "two"))

    assert (len(told), computed(second)) == (1, ["one"])


def test_over_sftp(server: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"ssh://127.0.0.1:{server.port}{server.home}/far")
    login = {"client_keys": [str(server.folder / "user_key")], "known_hosts": str(server.known_hosts())}
    monkeypatch.setitem(fsspec.config.conf, "ssh", login)

    first, second = made(Store(tmp_path / "one")), made(Store(tmp_path / "two"))

    assert (computed(first), computed(second)) == (["count", "one", "two"], [])
    assert numbers(first) == numbers(second)
    assert len(list((server.home / "far" / "runs").iterdir())) == 3


@pytest.mark.parametrize("before", ["", "dir::"])
def test_a_host_that_nobody_knows_is_told_nothing(
    server: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    login = {"client_keys": [str(server.folder / "user_key")]}
    monkeypatch.setitem(fsspec.config.conf, "ssh", login)
    store = Store(tmp_path / "one")
    artifact = commit(store, KEY)
    record = store.record(KEY)
    assert record is not None
    far = SharedStore(f"{before}ssh://127.0.0.1:{server.port}{server.home}/unknown")

    with pytest.warns(UserWarning, match=r"can't be reached .*[Hh]ost key"):
        far.give(asdict(record), artifact)

    assert not (server.home / "unknown").exists()


def test_doctor_tells_whether_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(url: str) -> tuple[str, str]:
        monkeypatch.setenv(VARIABLE, url)
        [finding] = [each for each in findings() if each.about == "shared store"]
        return finding.verdict, finding.found

    assert told((tmp_path / "far").as_uri()) == ("ok", f"{(tmp_path / 'far').as_uri()}: answers")
    verdict, found = told("ssh://me:secret@127.0.0.1:1/place")
    assert verdict == "wrong"
    assert found.startswith("ssh://127.0.0.1:1/place: ")
    assert "secret" not in found
    assert told("gopher://old/place")[0] == "wrong"


def test_a_warning_is_one_line_for_people(tmp_path: Path) -> None:
    environment = {**os.environ, VARIABLE: "ssh://127.0.0.1:1/place", "EDGEPRESS_STORE": str(tmp_path / "store")}

    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "explain", "digits", "--target", "pixel-8"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )

    [told] = done.stderr.splitlines()
    assert told.startswith("edgepress: ssh://127.0.0.1:1/place can't be reached (")
