"""`edgepress pack`, `verify` and `inspect` at the command line: what they print, and how they end."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.archive.pack import pack
from pipeline.cli import app
from pipeline.errors import ArchiveError
from tests.small_archive import indexed, members_of, write_keys, written
from tests.small_run import write_run

RUNNER = CliRunner()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, {"licence": "MIT"})


def test_pack_says_what_it_wrote(run: Path) -> None:
    ended = RUNNER.invoke(app, ["pack", str(run)])

    assert ended.exit_code == 0
    assert ended.stdout.startswith(f"wrote {run / 'bars-raspberry-pi-4.edgepress'} (")
    assert ended.stdout.endswith(" KiB, not signed)\n")


def test_pack_says_on_stderr_which_page_stays_and_how_to_get_one(run: Path) -> None:
    (run.parent / "report.html").write_text("of several targets")
    ended = RUNNER.invoke(app, ["pack", str(run)])

    assert ended.exit_code == 0
    assert ended.stdout.startswith("wrote ")
    assert ended.stderr.endswith(f"so no page is packed; edgepress report {run} writes one\n")


def test_verify_says_whether_anybody_vouches_for_it(run: Path, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    plain, signed = pack(run, out=tmp_path / "a.edgepress"), pack(run, out=tmp_path / "b.edgepress", key=private)
    told = [RUNNER.invoke(app, ["verify", *map(str, each)]) for each in ([plain], [signed], [signed, "--key", public])]

    assert [each.exit_code for each in told] == [0, 0, 0]
    assert "nobody vouches for it" in told[0].stdout
    assert "--key PUBLIC.pem says whether that is the one you trust" in told[1].stdout
    assert "signed by the key given, " in told[2].stdout


def test_verify_ends_with_1_and_names_each_altered_member(run: Path, tmp_path: Path) -> None:
    members = members_of(pack(run))
    altered = written(tmp_path / "a.edgepress", {**members, "model.onnx": b"other", "report.md": b"better"})
    ended = RUNNER.invoke(app, ["verify", str(altered)])
    found = json.loads(RUNNER.invoke(app, ["verify", str(altered), "--json"]).stdout)

    assert ended.exit_code == 1
    assert [line.partition(":")[0] for line in ended.stdout.splitlines()] == ["FAILED", "model.onnx", "report.md"]
    assert found["verdict"] == "fail"
    assert found["problems"] == ended.stdout.splitlines()[1:]


def test_inspect_shows_what_is_inside(run: Path) -> None:
    found = json.loads(RUNNER.invoke(app, ["inspect", str(pack(run)), "--json"]).stdout)
    text = RUNNER.invoke(app, ["inspect", str(pack(run))]).stdout

    assert (found["kind"], found["recipe"], found["target"]) == ("archive", "bars", "raspberry-pi-4")
    assert found["accuracy [95 %]"]["int8 onnx"] == "0.9750 [0.9500, 0.9875]"
    assert found["provenance"]["licence"] == "MIT"
    assert found["provenance"]["data"] == "not stated"
    assert (found["digests verified"], found["signed by"]) == ("yes", "nobody")
    assert "model.tflite             " in text


def test_inspect_refuses_what_is_not_whole(run: Path, tmp_path: Path) -> None:
    members = members_of(pack(run))
    archives = [
        written(tmp_path / "a.edgepress", {**members, "model.onnx": b"other"}),
        written(tmp_path / "renamed.zip", {**members, "more": b""}),
        written(tmp_path / "c.edgepress", indexed({"a": b"b"})),
    ]
    (tmp_path / "d.edgepress").write_bytes(b"\x1f\x8b")

    for archive in (*archives, tmp_path / "d.edgepress"):
        ended = RUNNER.invoke(app, ["inspect", str(archive)])
        assert isinstance(ended.exception, ArchiveError)
        assert ended.exception.exit_code == 2
