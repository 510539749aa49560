"""The store under real trouble: killed writers, no room, files that can only be read, file systems that do less than others.

Those of this machine can do it all, so a small library in front of the C library answers as others do; the whole runs on real ones
are `tests/evidence/trust/file_systems.py`.
"""

import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.artifact import digest_of
from pipeline.errors import StoreError
from pipeline.store import Store
from tests.small_store import ROOT, WRITER, age, commit, line_of, python


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_killed_writer_never_leaves_a_damaged_store(store: Store) -> None:
    """Kill it at 20 random moments; all that it said it made is there, and all that is there is whole."""
    chance = random.Random(0)  # noqa: S311 - moments, no secrets
    said: list[str] = []
    for kill in range(20):
        with python(WRITER, store.root, kill * 1_000_000) as process:
            said += [line_of(process) for _ in range(chance.randint(1, 8))]
            until = time.perf_counter() + chance.random() * 0.01
            while time.perf_counter() < until:
                pass
            process.kill()

    objects = [path for path in (store.root / "objects").iterdir() if not path.name.startswith("draft-")]
    assert [path.name for path in objects if digest_of(path) != path.name] == []
    assert [key for key in said if store.find(key) is None] == []
    assert [path.name for path in (store.root / "runs").glob("*.json") if store.record(path.stem) is None] == []


def test_what_a_killed_writer_left_is_collected(store: Store) -> None:
    with python(WRITER, store.root, 0) as process:
        keys = [line_of(process) for _ in range(3)]
        process.kill()
    draft, torn = store.root / "objects" / f"draft-{'0' * 32}", store.root / "runs" / f".{'0' * 64}.json.{'0' * 32}"
    draft.mkdir()
    torn.touch()
    for path in (draft, torn):
        age(path, 1)

    store.collect_garbage(keep_days=14)

    assert not draft.exists()
    assert not torn.exists()
    assert [key for key in keys if store.find(key) is None] == []


class TestNoRoom:
    """/dev/full refuses every byte as a full disk does, on any Linux and without rights."""

    @pytest.mark.parametrize("name", ["costs.json", "artifact.json"])
    def test_a_full_disk_is_one_line_and_nothing_finished_is_lost(self, store: Store, name: str) -> None:
        commit(store, "before")
        with pytest.raises(StoreError, match=r"is full; nothing finished is lost: free some space") as caught:
            self._fill(store, name)

        assert "\n" not in str(caught.value)
        assert store.find("before") is not None
        assert store.find("k") is None
        assert [path.name for path in (store.root / "objects").glob("draft-*")] == []
        assert (store.root / "scratch" / "k" / "checkpoint").exists()
        assert commit(store, "k") is not None

    def _fill(self, store: Store, name: str) -> None:
        with store.draft() as out, store.scratch("k") as scratch:
            (scratch / "checkpoint").touch()
            (out / name).symlink_to("/dev/full")
            (out / "costs.json").write_text("x" * 100_000, encoding="utf-8")
            store.commit(out, "costs", {}, {"key": "k", "parts": {}, "seconds": 0.0, "circumstances": {}})

    def test_a_library_that_tells_of_a_full_disk_in_its_own_words_is_understood(self, store: Store) -> None:
        with pytest.raises(StoreError, match="nothing finished is lost"):
            self._save_a_network(store)

    def _save_a_network(self, store: Store) -> None:
        from safetensors.torch import save_file
        from torch import zeros

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with store.draft() as out:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
            try:
                save_file({"x": zeros(100_000)}, out / "weights.safetensors")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    def test_a_record_that_finds_no_room_leaves_the_old_one_whole(self, store: Store) -> None:
        store.remember_plan("digits", {"teach": "a" * 64})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        try:
            with pytest.raises(StoreError, match="nothing finished is lost"):
                store.remember_plan("digits", {"teach": "b" * 64, "prune": "c" * 64})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        assert store.last_plan("digits") == {"teach": "a" * 64}
        assert [path.name for path in (store.root / "last").iterdir()] == ["digits.json"]


def test_a_store_that_cannot_be_written_still_answers_and_says_so_when_it_must_write(tmp_path: Path) -> None:
    """As the user `nobody` where the tests run as root, since root may write everywhere."""
    script = """
import os, sys
from pathlib import Path
from pipeline.store import Store
if os.getuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
from pipeline.errors import StoreError
store = Store(Path(sys.argv[1]))
with store.in_use():
    print(store.find("k") is not None)
for attempt in (lambda: store.locked("k").__enter__(), lambda: store.draft().__enter__(),
                lambda: store.remember_plan("digits", {"teach": "x"}), lambda: store.scratch("k").__enter__(),
                lambda: store.observe("k", {})):
    try:
        attempt()
        print("written")
    except StoreError as error:
        print(error)
"""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    store = Store(tmp_path / "store")
    commit(store, "k")
    paths = [store.root, *store.root.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with python(script, store.root) as process:
            said = process.communicate()[0].splitlines()
    finally:
        for path in paths:
            path.chmod(0o755)

    assert said[0] == "True"
    refused = f"{store.root} can't be written or read (Permission denied); name another store in EDGEPRESS_STORE"
    assert said[1:] == [refused] * 5


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_store_that_is_a_file_or_lies_below_one_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"can't be a store .*; name another folder in EDGEPRESS_STORE") as caught:
        Store(tmp_path / name)
    assert "\n" not in str(caught.value)


POORER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/stat.h>
static int is_folder(const struct stat *found) { return S_ISDIR(found->st_mode); }
static int refused(int why) { errno = why; return -1; }
#ifdef NO_LOCKS
int flock(int file, int operation) { return refused(ENOLCK); }
#endif
int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    struct stat found;
    return !fstat(file, &found) && is_folder(&found) ? refused(EINVAL) : real(file);
}
int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    struct stat found;
    int folder = !stat(from, &found) && is_folder(&found), done = real(from, to);
    return folder ? refused(EPERM) : done;
}
"""
"""No folder can be flushed, as in a virtual machine's shared ones, and one that got its name is told as refused, as over sftp where
another run was first; with NO_LOCKS no file is locked, as on NFS without its lock service."""


def on_poorer(folder: Path, script: str, *options: str) -> list[str]:
    """Run a script whose file systems are POORER, with a store in the folder; return what it printed."""
    library = folder / "poorer.so"
    compiler = ["cc", "-shared", "-fPIC", *options, "-x", "c", "-", "-o", str(library)]
    subprocess.run(compiler, input=POORER, text=True, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library)}
    command = [sys.executable, "-c", script, str(folder / "store")]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_a_file_system_that_flushes_no_folders_and_hides_why_a_name_is_taken_holds_a_store(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from pipeline.store import Store
from tests.small_store import commit
store = Store(Path(sys.argv[1]))
for key in ("k", "same"):
    with store.in_use():
        print(commit(store, key).digest)
    print(store.find(key)[1].digest)
"""

    said = on_poorer(tmp_path, script)

    assert len(said) == 4
    assert len(set(said)) == 1
    assert [path.name for path in (tmp_path / "store" / "objects").iterdir()] == [said[0]]


def test_a_file_system_that_locks_no_files_is_refused_in_one_line(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from pipeline.errors import StoreError
from pipeline.store import Store
from tests.small_store import commit
try:
    commit(Store(Path(sys.argv[1])), "k")
except StoreError as error:
    print(error)
"""

    said = on_poorer(tmp_path, script, "-DNO_LOCKS")

    found = f"the file system of {tmp_path / 'store'} locks no files (No locks available), which keeps runs apart"
    assert said == [f"{found}; name a store on another one in EDGEPRESS_STORE"]
