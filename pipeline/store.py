"""The store: results by what they were made from, written so that a crash loses no finished work.

    objects/<digest>/          artifacts; a folder appears whole, by rename, and never changes
    runs/<key>.json            what was made from what: written last, so that no record means not done
    scratch/<key>/             checkpoints of an unfinished step
    last/<recipe>.json         the keys of a recipe's last plan, for `explain`
    observations/<key>.jsonl   measurements: appended, never changed
    locks/                     one lock a step, so that two runs compute it once

After DVC's run cache and Git's object store. A corrupt object is a miss with a warning. Nothing here imports torch.
"""

import errno
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.artifact import Artifact, Facts, Kind, canonical_json, open_artifact, write_manifest
from pipeline.errors import ModelError, StoreError

FOLDERS = ("objects", "runs", "scratch", "last", "observations", "locks")
IN_USE_SECONDS = 3600
"""What was touched this recently may belong to a run that goes on; `collect_garbage` leaves it."""


@dataclass(frozen=True)
class Record:
    """What was made: the artifact's digest, the parts of the key, and how long it took."""

    key: str
    digest: str
    parts: Mapping[str, Any]
    seconds: float
    circumstances: Mapping[str, Any]


@dataclass(frozen=True)
class Freed:
    """What `collect_garbage` removed."""

    objects: int
    size_bytes: int


class Store:
    """A folder of results, safe to share between processes; `root` is made when it isn't there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        with self.troubles():
            for folder in FOLDERS:
                (root / folder).mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> tuple[Record, Artifact] | None:
        """Return what was made under this key, every byte checked; None when it must be made."""
        record = self.record(key)
        if record is None:
            return None
        folder = self.root / "objects" / record.digest
        with suppress(ModelError, FileNotFoundError):
            artifact = open_artifact(folder)
            if artifact.digest == record.digest:
                self._touch(self._record_path(key))
                return record, artifact
        warnings.warn(f"{folder} is damaged or gone: it will be made again", stacklevel=2)
        return None

    def record(self, key: str) -> Record | None:
        """Return the record of a key, or None where there is no whole one."""
        try:
            value = json.loads(self._record_path(key).read_text(encoding="utf-8"))
            return Record(key, value["digest"], value["parts"], value["seconds"], value["circumstances"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give a folder to write an artifact into; what isn't committed is removed."""
        with self.troubles():
            folder = Path(tempfile.mkdtemp(prefix="draft-", dir=self.root / "objects"))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def commit(self, draft: Path, kind: Kind, facts: Facts, record: Mapping[str, Any]) -> Artifact:
        """Move a draft to its place and record it: `record` holds key, parts, seconds and circumstances."""
        with self.troubles():
            write_manifest(draft, kind, facts)
            for path in draft.rglob("*"):
                _flush(path)
            artifact = open_artifact(draft)
            place = self.root / "objects" / artifact.digest
            self._move(draft, place)
            write_whole(self._record_path(record["key"]), canonical_json({**record, "digest": artifact.digest}))
            return Artifact(digest=artifact.digest, kind=kind, path=place, facts=artifact.facts)

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Hold the step's lock, waiting for whoever has it; the system frees it when its holder dies."""
        with self.troubles():
            lock = FileLock(self.root / "locks" / f"{key}.lock")
            with lock:
                yield

    @contextmanager
    def scratch(self, key: str) -> Iterator[Path]:
        """Give the folder of an unfinished step; it stays until the step is done."""
        folder = self.root / "scratch" / key
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def last_plan(self, name: str) -> Mapping[str, str]:
        """Return the keys, by step, of a recipe's last run."""
        try:
            plan = json.loads((self.root / "last" / f"{name}.json").read_text(encoding="utf-8"))
            return plan if isinstance(plan, dict) else {}
        except (FileNotFoundError, ValueError):
            return {}

    def remember_plan(self, name: str, keys: Mapping[str, str]) -> None:
        """Keep the keys, by step, of a recipe's last run."""
        with self.troubles():
            write_whole(self.root / "last" / f"{name}.json", canonical_json(dict(keys)))

    def observe(self, key: str, observation: Mapping[str, Any]) -> None:
        """Append one measurement."""
        line = json.dumps(dict(observation), sort_keys=True, allow_nan=False) + "\n"
        with self.troubles(), (self.root / "observations" / f"{key}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def observations(self, key: str) -> list[dict[str, Any]]:
        """Return the measurements under a key, oldest first; a torn line is left out."""
        path = self.root / "observations" / f"{key}.jsonl"
        found = []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def collect_garbage(self, keep_days: float) -> Freed:
        """Remove what no run of the last `keep_days` days made or used, and say how much that was."""
        horizon = time.time() - max(keep_days * 86400, IN_USE_SECONDS)
        with self.troubles():
            for path in (self.root / "runs").glob("*.json"):
                self._forget(path, horizon)
            kept = {record.digest for path in (self.root / "runs").glob("*.json") if (record := self.record(path.stem))}
            idle = time.time() - IN_USE_SECONDS
            folders = [*(self.root / "objects").iterdir(), *(self.root / "scratch").iterdir()]
            doomed = [path for path in folders if path.name not in kept and path.stat().st_mtime < idle]
            freed = Freed(len(doomed), sum(_size_bytes(path) for path in doomed))
            for path in doomed:
                shutil.rmtree(path, ignore_errors=True)
            return freed

    @contextmanager
    def troubles(self) -> Iterator[None]:
        """Turn what a file system refuses into a StoreError that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreError(
                    f"the disk of {self.root} is full; nothing finished is lost: free some space (`edgepress gc`), then run again"
                ) from error
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise StoreError(
                    f"{self.root} can't be written ({error.strerror}); name another store in EDGEPRESS_STORE"
                ) from error
            raise

    def _forget(self, path: Path, horizon: float) -> None:
        with suppress(Timeout), FileLock(self.root / "locks" / f"{path.stem}.lock", timeout=0):
            if path.stat().st_mtime < horizon:
                path.unlink()

    def _move(self, draft: Path, place: Path) -> None:
        if place.exists():
            with suppress(ModelError):
                if open_artifact(place).digest == place.name:
                    self._touch(place)
                    return
            shutil.rmtree(place)
        draft.rename(place)
        _flush(place.parent)

    def _touch(self, path: Path) -> None:
        with suppress(PermissionError):  # a read-only store still answers
            os.utime(path)

    def _record_path(self, key: str) -> Path:
        return self.root / "runs" / f"{key}.json"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it holds all of the text or what it held before."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text + "\n", encoding="utf-8")
        _flush(draft)
        draft.replace(path)
        _flush(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def default_store() -> Path:
    """Return EDGEPRESS_STORE, or `.edgepress` in the working folder."""
    return Path(os.environ.get("EDGEPRESS_STORE", ".edgepress"))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
