"""The store: what was made is found, shared, noticed when damaged, and collected when nobody needs it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifact import digest_of
from pipeline.store import IN_USE_SECONDS, Store, default_store
from tests.small_store import WRITER, age, commit, line_of, python

OLD, NEW = "a" * 64, "b" * 64
"""Keys as `pipeline.run` makes them: garbage is what bears such names."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_what_was_committed_is_found_whole(store: Store) -> None:
    made = commit(store, "k")

    found = store.find("k")

    assert found is not None
    record, artifact = found
    assert artifact == made
    assert artifact.path.name == artifact.digest == record.digest == digest_of(artifact.path)
    assert (record.parts, record.seconds, record.circumstances) == ({"stage": "costs"}, 1.5, {"machine": "test"})


def test_what_was_never_made_is_not_found(store: Store) -> None:
    assert store.find("k") is None


def test_a_draft_that_is_not_committed_leaves_nothing(store: Store) -> None:
    def stop_half_way() -> None:
        with store.draft() as out:
            (out / "costs.json").write_text("{}", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        stop_half_way()

    assert list((store.root / "objects").iterdir()) == []
    assert list((store.root / "runs").iterdir()) == []


def test_equal_results_of_two_steps_are_one_object(store: Store) -> None:
    one, two = commit(store, "a"), commit(store, "b")

    assert one.path == two.path
    assert len(list((store.root / "objects").iterdir())) == 1


def test_other_users_may_read_what_is_shared(store: Store) -> None:
    before = os.umask(0o022)
    try:
        made = commit(store, "k")
    finally:
        os.umask(before)

    assert made.path.stat().st_mode & 0o777 == 0o755
    assert (store.root / "runs" / "k.json").stat().st_mode & 0o777 == 0o644


def test_scratch_survives_a_crash_and_goes_when_the_step_is_done(store: Store) -> None:
    def crash() -> None:
        with store.scratch("k") as scratch:
            (scratch / "checkpoint").write_text("half", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        crash()

    with store.scratch("k") as again:
        assert (again / "checkpoint").read_text(encoding="utf-8") == "half"
    assert not again.exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "extra", "folder"])
def test_a_damaged_object_is_a_miss_with_a_warning_and_is_made_again(store: Store, damage: str) -> None:
    made = commit(store, "k", "some content")
    victim = made.path / "costs.json"
    damages: dict[str, Callable[[], object]] = {
        "flip": lambda: victim.write_text("some kontent", encoding="utf-8"),
        "cut": lambda: victim.write_text("some", encoding="utf-8"),
        "remove": victim.unlink,
        "manifest": (made.path / "artifact.json").unlink,
        "extra": (made.path / "stray").touch,
        "folder": lambda: made.path.rename(store.root / "away"),
    }
    damages[damage]()

    with pytest.warns(UserWarning, match="is damaged or gone: it will be made again"):
        assert store.find("k") is None
    assert commit(store, "k", "some content").digest == made.digest
    assert store.find("k") is not None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"digest": "x"}', '{"digest": 3, "parts"'])
def test_a_damaged_record_is_a_miss(store: Store, content: str) -> None:
    commit(store, "k")
    (store.root / "runs" / "k.json").write_text(content, encoding="utf-8")

    assert store.find("k") is None


def test_a_second_process_waits_for_the_first_ones_lock(store: Store) -> None:
    script = """
import sys
from pathlib import Path
from pipeline.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
with store.locked("k"):
    print("made" if store.record("k") is None else "found", flush=True)
"""
    with python(script, store.root) as process:
        with store.locked("k"):
            assert line_of(process) == "ready"
            with store.draft() as out:
                store.commit(out, "costs", {}, {"key": "k", "parts": {}, "seconds": 0.0, "circumstances": {}})

        assert line_of(process) == "found"


def test_a_killed_process_frees_its_lock(store: Store) -> None:
    script = """
import sys, time
from pathlib import Path
from pipeline.store import Store
with Store(Path(sys.argv[1])).locked("k"):
    print("locked", flush=True)
    time.sleep(600)
"""
    with python(script, store.root) as process:
        assert line_of(process) == "locked"
        process.kill()
        process.wait()

        with store.locked("k"):
            assert commit(store, "other") is not None


def test_two_processes_that_make_equal_results_share_one_object(store: Store) -> None:
    with python(WRITER, store.root, 0) as one, python(WRITER, store.root, 1_000_000) as other:
        for _ in range(20):
            assert line_of(one)
            assert line_of(other)

    with python(WRITER, store.root, 2_000_000) as one, python(WRITER, store.root, 2_000_000) as other:
        keys = [line_of(process) for _ in range(20) for process in (one, other)]
    assert [key for key in keys if store.find(key) is None] == []


class TestGarbage:
    """What no recent run needs goes; all else stays."""

    def test_old_results_go_and_it_says_how_much(self, store: Store) -> None:
        old, new = commit(store, OLD, "x" * 1000), commit(store, NEW, "y" * 1000)
        size_bytes = sum(path.stat().st_size for path in old.path.rglob("*"))
        for path in (store.root / "runs" / f"{OLD}.json", old.path, new.path):
            age(path, 30)

        freed = store.collect_garbage(keep_days=14)

        assert (freed.objects, freed.size_bytes) == (1, size_bytes)
        assert not old.path.exists()
        assert (store.find(OLD), store.find(NEW) is not None) == (None, True)

    def test_what_a_run_found_again_counts_as_recent(self, store: Store) -> None:
        made = commit(store, NEW)
        age(store.root, 30)
        assert store.find(NEW) is not None

        assert store.collect_garbage(keep_days=14).objects == 0
        assert made.path.exists()

    def test_an_object_stays_as_long_as_one_recent_record_needs_it(self, store: Store) -> None:
        made = commit(store, OLD)
        commit(store, NEW)
        for path in (store.root / "runs" / f"{OLD}.json", made.path):
            age(path, 30)

        store.collect_garbage(keep_days=14)

        assert store.find(NEW) is not None

    def test_checkpoints_of_a_killed_run_stay_as_long_as_results(self, store: Store) -> None:
        for key, days in ((NEW, 3), (OLD, 30)):
            (store.root / "scratch" / key).mkdir()
            (store.root / "scratch" / key / "checkpoint").write_text("x" * 100, encoding="utf-8")
            age(store.root / "scratch" / key, days)

        freed = store.collect_garbage(keep_days=14)

        assert (freed.objects, freed.size_bytes) == (1, 100)
        assert [path.name for path in (store.root / "scratch").iterdir()] == [NEW]

    def test_what_was_touched_within_the_hour_stays_whatever_is_asked(self, store: Store) -> None:
        commit(store, NEW)
        age(store.root, (IN_USE_SECONDS - 60) / 86400)

        store.collect_garbage(keep_days=0)

        assert store.find(NEW) is not None

    def test_a_long_runs_results_drafts_and_checkpoints_stay(self, store: Store) -> None:
        """The run began ten hours ago, in another process, and goes on; its name says when."""
        script = """
import sys, time
from pathlib import Path
from pipeline.store import Store
real = time.time_ns
time.time_ns = lambda: real() - 10 * 3600 * 10**9
store = Store(Path(sys.argv[1]))
with store.in_use(), store.draft() as out:
    print(out, flush=True)
    time.sleep(600)
"""
        found, checkpoint = commit(store, NEW), store.root / "scratch" / OLD
        checkpoint.mkdir()
        with python(script, store.root) as process:
            draft = Path(line_of(process))
            for path in (store.root / "runs", store.root / "objects", checkpoint):
                age(path, 9 / 24)

            assert store.collect_garbage(keep_days=0).objects == 0
            assert store.collect_garbage(keep_days=0).objects == 0
            assert found.path.exists()
            assert draft.exists()
            process.kill()
            process.wait()
        assert store.collect_garbage(keep_days=0).objects == 3
        assert list((store.root / "locks").glob("running-*")) == []

    def test_what_a_user_keeps_in_folders_of_these_names_stays(self, store: Store) -> None:
        mine = [
            store.root / name
            for name in (
                "objects/ckpt/w.pt",
                "objects/draft-chapter/1.txt",
                "runs/experiment.json",
                "runs/.hidden",
                "scratch/thesis.txt",
                "last/.notes",
                "locks/running-late.lock",
            )
        ]
        for path in mine:
            path.parent.mkdir(exist_ok=True)
            path.write_text("[]", encoding="utf-8")
        age(store.root, 300)

        assert store.collect_garbage(keep_days=14).objects == 0
        assert [path for path in mine if not path.exists()] == []


@pytest.mark.parametrize("given", ["", None])
def test_the_working_folder_itself_is_never_the_store(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    monkeypatch.delenv("EDGEPRESS_STORE", raising=False)
    if given is not None:
        monkeypatch.setenv("EDGEPRESS_STORE", given)

    assert default_store() == Path(".edgepress")


def test_what_a_stage_may_not_read_elsewhere_is_no_trouble_of_the_store(store: Store) -> None:
    with pytest.raises(PermissionError), store.draft():
        raise PermissionError(13, "Permission denied", "/elsewhere/data.npz")


def test_observations_come_back_in_order(store: Store) -> None:
    for value in (1, 2, 3):
        store.observe("k", {"value": value})

    assert store.observations("k") == [{"value": 1}, {"value": 2}, {"value": 3}]
    assert store.observations("nothing") == []


def test_a_torn_observation_is_left_out_and_does_not_swallow_the_next(store: Store) -> None:
    store.observe("k", {"value": 1})
    with (store.root / "observations" / "k.jsonl").open("ab") as file:
        file.write(b'{"value": \xff')

    store.observe("k", {"value": 2})

    assert store.observations("k") == [{"value": 1}, {"value": 2}]


def test_the_last_plan_is_remembered_by_name(store: Store) -> None:
    store.remember_plan("digits@pixel-8", {"teach": "key"})

    assert store.last_plan("digits@pixel-8") == {"teach": "key"}
    assert store.last_plan("other") == {}
    (store.root / "last" / "digits@pixel-8.json").write_text("torn", encoding="utf-8")
    assert store.last_plan("digits@pixel-8") == {}


def test_the_store_is_loaded_without_torch() -> None:
    script = "import json, sys, pipeline.store; print(json.dumps(sorted(sys.modules)))"
    with python(script) as process:
        modules = json.loads(process.communicate()[0])

    assert "torch" not in modules
