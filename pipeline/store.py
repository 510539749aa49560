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
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from pipeline.artifact import Artifact, Facts, Kind, canonical_json, open_artifact, write_manifest
from pipeline.errors import EdgepressError, ModelError, StoreError, StoreWarning
from pipeline.shared import shared_store

FOLDERS = ("objects", "runs", "scratch", "last", "observations", "locks")
IN_USE_SECONDS = 3600
"""What was touched this recently is left by `collect_garbage`, whatever it is asked."""

RUNNING = "running-"
OBJECT = re.compile(r"[0-9a-f]{64}|(draft|damaged|\.collected)-[0-9a-f]{32}")
RECORD = re.compile(r"[0-9a-f]{64}\.json")
LEFTOVER = re.compile(r"\..+\.json\.[0-9a-f]{32}|\.collected-[0-9a-f]{32}")
RUN = re.compile(rf"{RUNNING}[0-9]+-[0-9a-f]{{32}}\.lock")
"""All that `collect_garbage` may remove: a store may have been put where someone keeps files of their own."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ROOM_SIGNS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "PytorchStreamWriter failed writing",
)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)
"""How a network file system without a lock service answers, flock(2)."""


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
        try:
            with self.troubles():
                for folder in FOLDERS:
                    (root / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{root} can't be a store ({error.strerror}: {error.filename}); name another folder in EDGEPRESS_STORE"
            ) from error

    def find(self, key: str) -> tuple[Record, Artifact] | None:
        """Return what was made under this key, every byte checked; None when it must be made."""
        with self.troubles():
            record = self.record(key)
            # Touched before it is read: what is collected at the same time is either kept or seen as gone.
            if record is None or not self._touch(self._record_path(key)):
                return self._brought(key)
        folder = self.root / "objects" / record.digest
        with suppress(ModelError):
            artifact = open_artifact(folder)
            if artifact.digest == record.digest:
                return record, artifact
        warnings.warn(f"{folder} is damaged or gone: it will be made again", StoreWarning, stacklevel=2)
        return self._brought(key)

    def share(self, record: Record, artifact: Artifact) -> None:
        """Give a result to the shared store, where there is one that lacks it."""
        if shared := shared_store():
            shared.give(asdict(record), artifact)

    def _brought(self, key: str) -> tuple[Record, Artifact] | None:
        """Return what the shared store has under this key, copied into this one."""
        shared = shared_store()
        record = shared.record(key) if shared else None
        if shared is None or record is None:
            return None
        with self.draft() as draft:
            artifact = shared.bring(record, draft)
            if artifact is None:
                return None
            kept = {name: record[name] for name in ("key", "parts", "seconds", "circumstances")}
            artifact = self._keep(draft, artifact, kept)
        found = self.record(key)
        return None if found is None else (found, artifact)

    def record(self, key: str) -> Record | None:
        """Return the record of a key, or None where there is no whole one."""
        try:
            value = json.loads(self._record_path(key).read_text(encoding="utf-8"))
            return Record(key, value["digest"], value["parts"], value["seconds"], value["circumstances"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Tell `collect_garbage`, for the length of a run, to leave what the run makes and finds; killed, it ends too."""
        path = self.root / "locks" / f"{RUNNING}{time.time_ns()}-{uuid4().hex}.lock"
        lock = FileLock(path)
        with suppress(OSError):  # a store that can't be written can't be collected from either
            lock.acquire()
        try:
            yield
        finally:
            if lock.is_locked:
                path.unlink(missing_ok=True)
                lock.release()

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give a folder to write an artifact into; what isn't committed is removed."""
        folder = self.root / "objects" / f"draft-{uuid4().hex}"
        with self.troubles():
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def commit(self, draft: Path, kind: Kind, facts: Facts, record: Mapping[str, Any]) -> Artifact:
        """Move a draft to its place and record it: `record` holds key, parts, seconds and circumstances."""
        with self.troubles():
            write_manifest(draft, kind, facts)
            return self._keep(draft, open_artifact(draft), record)

    def _keep(self, draft: Path, artifact: Artifact, record: Mapping[str, Any]) -> Artifact:
        """Give an artifact that was drafted its place, then record it."""
        with self.troubles():
            for path in (draft, *draft.rglob("*")):
                _flush(path)
            place = self.root / "objects" / artifact.digest
            self._move(draft, place)
            write_whole(self._record_path(record["key"]), canonical_json({**record, "digest": artifact.digest}))
            return replace(artifact, path=place)

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Hold the step's lock, waiting for whoever has it; the system frees it when its holder dies."""
        lock = FileLock(self.root / "locks" / f"{key}.lock")
        with self.troubles():
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def scratch(self, key: str) -> Iterator[Path]:
        """Give the folder of an unfinished step; it stays until the step is done."""
        folder = self.root / "scratch" / key
        with self.troubles():
            folder.mkdir(parents=True, exist_ok=True)
            self._touch(folder)
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
        """Keep the keys, by step, of a recipe's last run; what is kept already is not written again."""
        if self.last_plan(name) != dict(keys):
            with self.troubles():
                write_whole(self.root / "last" / f"{name}.json", canonical_json(dict(keys)))

    def observe(self, key: str, observation: Mapping[str, Any]) -> None:
        """Append one measurement, in one piece."""
        line = json.dumps(dict(observation), sort_keys=True, allow_nan=False) + "\n"
        with self.troubles(), (self.root / "observations" / f"{key}.jsonl").open("ab+", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            torn = file.read(1) not in (b"", b"\n")  # a killed run's last line must not swallow this one
            file.write(b"\n" * torn + line.encode())
            os.fsync(file.fileno())

    def observations(self, key: str) -> list[dict[str, Any]]:
        """Return the measurements under a key, oldest first; a torn line is left out."""
        path = self.root / "observations" / f"{key}.jsonl"
        found = []
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [observation for observation in found if isinstance(observation, dict)]

    def collect_garbage(self, keep_days: float) -> Freed:
        """Remove what no run of the last `keep_days` days made or used, and say how much that was.

        What a run that goes on has made or found is left, however long ago that was.
        """
        with self.troubles():
            idle = min(time.time() - IN_USE_SECONDS, self._oldest_run())
            horizon = min(time.time() - keep_days * 86400, idle)
            for path in self._named(RECORD, "runs"):
                self._forget(path, horizon)
            kept = {record.digest for path in self._named(RECORD, "runs") if (record := self.record(path.stem))}
            objects = [path for path in self._named(OBJECT, "objects") if path.name not in kept]
            removed = [_remove(path, idle) for path in objects]
            removed += [_remove(path, horizon) for path in self._named(OBJECT, "scratch")]
            removed += [_remove(path, idle) for folder in ("runs", "last") for path in self._named(LEFTOVER, folder)]
            sizes = [size for size in removed if size is not None]
            return Freed(len(sizes), sum(sizes))

    def _named(self, pattern: re.Pattern[str], folder: str) -> list[Path]:
        return [path for path in (self.root / folder).iterdir() if pattern.fullmatch(path.name)]

    def _oldest_run(self) -> float:
        """Return when the oldest run that still goes on began; a run that was killed has lost its lock."""
        starts = [time.time()]
        for path in self._named(RUN, "locks"):
            try:
                with FileLock(path, timeout=0):
                    path.unlink(missing_ok=True)
            except Timeout:
                starts.append(int(path.name.removeprefix(RUNNING).partition("-")[0]) / 1e9 - 1)
        return min(starts)

    @contextmanager
    def troubles(self) -> Iterator[None]:
        """Turn what a file system refuses into a StoreError that says what to do."""
        try:
            yield
        except EdgepressError:
            raise
        except Exception as error:
            if _no_room(error):
                raise StoreError(
                    f"the disk of {self.root} is full; nothing finished is lost: free some space (`edgepress gc`), then run again"
                ) from error
            if isinstance(error, OSError) and error.errno in REFUSED and self._holds(error.filename):
                raise StoreError(
                    f"{self.root} can't be written or read ({error.strerror}); name another store in EDGEPRESS_STORE"
                ) from error
            if isinstance(error, OSError) and error.errno in NO_LOCKS:
                raise StoreError(
                    f"the file system of {self.root} locks no files ({error.strerror}), which keeps runs apart; name a store "
                    "on another one in EDGEPRESS_STORE"
                ) from error
            raise

    def _holds(self, name: object) -> bool:
        """Say whether a file is the store's: what a stage reads elsewhere is no trouble of the store."""
        return isinstance(name, str) and Path(name).absolute().is_relative_to(self.root.absolute())

    def _forget(self, path: Path, horizon: float) -> None:
        with suppress(Timeout), FileLock(self.root / "locks" / f"{path.stem}.lock", timeout=0):
            _remove(path, horizon)

    def _move(self, draft: Path, place: Path) -> None:
        """Give a draft its name, unless what bears it already is whole; a damaged one makes room."""
        if self._touch(place):
            if _is_whole(place):
                return
            place.rename(place.with_name(f"damaged-{uuid4().hex}"))
        try:
            draft.rename(place)
        except OSError:
            # Another run gave the same bytes that name just now; ENOTEMPTY here is EPERM over sftp.
            if not _is_whole(place):
                raise
        _flush(place.parent)

    def _touch(self, path: Path) -> bool:
        """Mark a path as used now; False when it is gone."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in REFUSED:  # a read-only store still answers
                raise
        return True

    def _record_path(self, key: str) -> Path:
        return self.root / "runs" / f"{key}.json"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it holds all of the text or what it held before."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        draft.write_text(text + "\n", encoding="utf-8")
        _flush(draft)
        draft.replace(path)
        _flush(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def default_store() -> Path:
    """Return EDGEPRESS_STORE, or `.edgepress` in the working folder where that is empty or not set."""
    return Path(os.environ.get("EDGEPRESS_STORE") or ".edgepress")


def _is_whole(place: Path) -> bool:
    with suppress(ModelError):
        return open_artifact(place).digest == place.name
    return False


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # shared folders of virtual machines flush files alone
            raise
    finally:
        os.close(descriptor)


def _no_room(error: BaseException) -> bool:
    """Say whether a full disk is behind an error; torch and safetensors tell it in their own ways."""
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    told = any(sign in str(error) for sign in NO_ROOM_SIGNS)
    return told or (error.__cause__ is not None and _no_room(error.__cause__))


def _remove(path: Path, horizon: float) -> int | None:
    """Remove what nobody touched since `horizon` and return its size in bytes, or None.

    It is renamed first and looked at again, so that whoever touches it at the same time either finds it kept or gone.
    """
    aside = path.with_name(f".collected-{uuid4().hex}")
    with suppress(FileNotFoundError):
        if path.stat().st_mtime >= horizon:
            return None
        path.rename(aside)
        if aside.stat().st_mtime >= horizon:
            with suppress(OSError):  # made anew meanwhile: what is aside goes next time
                aside.rename(path)
            return None
        size_bytes = sum(file.stat().st_size for file in (aside, *aside.rglob("*")) if file.is_file())
        shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
        return size_bytes
    return None
