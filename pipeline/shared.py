"""A store behind the store: results on any fsspec URL, for machines that share no folder.

    URL/runs/<key>.json               a record with the names and sizes of its artifact's files: written last
    URL/objects/<digest>/<file>       the artifact's files

EDGEPRESS_SHARED gives the URL; logins are fsspec's own settings (https://filesystem-spec.readthedocs.io, "Configuration"). What is brought is
digested whole before it is taken, and whoever can write there is trusted like oneself. Locks aren't shared, so two machines may make a step twice;
nothing is ever removed there. Nothing here imports torch.
"""

import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, cached_property, wraps
from pathlib import Path, PurePosixPath
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from pipeline.artifact import Artifact, canonical_json, list_files, open_artifact, strict_json
from pipeline.errors import MissingExtraError, ModelError, StoreError, StoreWarning

VARIABLE = "EDGEPRESS_SHARED"
MOST_RECORD_BYTES = 16 * 2**20
MOST_BYTES = 64 * 2**30
MOST_NAME_BYTES = 255
PIECE_BYTES = 2**20
P = ParamSpec("P")
T = TypeVar("T")
Ask: TypeAlias = Callable[Concatenate["SharedStore", P], T | None]
DIGEST = re.compile(r"[0-9a-f]{64}")
LOGIN = re.compile(r"(?<=://)[^/]*@")
NO_FILE = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
"""What a list of files that contradicts itself or isn't there ends in."""


class _AwayError(Exception):
    """The place didn't do what it was asked."""


def _if_reached(ask: Ask[P, T]) -> Ask[P, T]:
    """Ask nothing more of a place that once couldn't be reached."""

    @wraps(ask)
    def asked(self: "SharedStore", /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        if not self.reached:
            return None
        try:
            return ask(self, *args, **kwargs)
        except _AwayError as error:
            self.reached = False
            warnings.warn(f"{self.name} can't be reached ({error}); all goes on without it", StoreWarning, stacklevel=2)
            return None

    return asked


class SharedStore:
    """Results on a URL; when that can't be reached, it is said once, and all goes on without it."""

    def __init__(self, url: str) -> None:
        self.name, self.url = LOGIN.sub("", url), url
        self.reached = self.takes = True
        self._whole: set[str] = set()
        self._damaged: set[str] = set()

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system and the folder in it."""
        fsspec = _fsspec(self.url)
        try:
            with _asked(ValueError, ImportError):
                files, root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            reason = " ".join(str(error).split()).replace(self.url, self.name)
            raise StoreError(
                f"{VARIABLE}={self.name:.100} can't be opened ({reason:.200}); give a URL that fsspec knows"
            ) from error
        return files, str(root).rstrip("/")

    def trouble(self) -> str:
        """Return why nothing can be shared there; nothing where the place answers."""
        try:
            files, root = self._place
            with suppress(FileNotFoundError), _asked(FileNotFoundError):  # the first result makes the folder
                files.info(root)
        except (_AwayError, MissingExtraError, StoreError) as error:
            return str(error)
        return ""

    @_if_reached
    def record(self, key: str) -> dict[str, Any] | None:
        """Return a key's record there; None where there is none that can be read."""
        files, root = self._place
        try:
            with _asked(FileNotFoundError):
                text = files.cat_file(f"{root}/runs/{key}.json", end=MOST_RECORD_BYTES)
            return {**_checked(strict_json(text)), "key": key}
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            self._tell_damage(key, f"its record can't be read: {error}")
            return None

    @_if_reached
    def bring(self, record: Mapping[str, Any], folder: Path) -> Artifact | None:
        """Copy a record's artifact into an empty folder; None where it isn't whole."""
        try:
            for name, size_bytes in _listed(record["files"]):
                self._copy(f"objects/{record['digest']}/{name}", folder / name, size_bytes)
            artifact = open_artifact(folder)
        except (ModelError, ValueError, *NO_FILE) as error:
            self._tell_damage(record["key"], str(error))
            return None
        if artifact.digest != record["digest"]:
            self._tell_damage(record["key"], "its bytes aren't those of its digest")
            return None
        self._whole.add(record["key"])
        return artifact

    @_if_reached
    def give(self, record: Mapping[str, Any], artifact: Artifact) -> None:
        """Copy a result there, unless it is there, or the place can only be read."""
        key = record["key"]
        if key in self._whole or not self.takes:
            return
        files, root = self._place
        try:
            with _asked():
                if key in self._damaged or not files.exists(f"{root}/runs/{key}.json"):
                    _put(record, artifact, files, root)
        except _AwayError as error:
            self.takes = False
            warnings.warn(
                f"{self.name} takes no results ({error}); all goes on without that", StoreWarning, stacklevel=3
            )
            return
        self._damaged.discard(key)
        self._whole.add(key)

    def _copy(self, source: str, target: Path, size_bytes: int) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as taken:
            for piece in self._pieces(source, size_bytes):
                taken.write(piece)

    def _pieces(self, source: str, size_bytes: int) -> Iterator[bytes]:
        files, root = self._place
        with _asked(FileNotFoundError), files.open(f"{root}/{source}", "rb") as given:
            while size_bytes > 0 and (piece := given.read(min(size_bytes, PIECE_BYTES))):
                yield piece
                size_bytes -= len(piece)

    def _tell_damage(self, key: str, why: str) -> None:
        self._damaged.add(key)
        self._whole.discard(key)
        warnings.warn(
            f"{key[:12]} in {self.name} is damaged ({why:.200}): it will be made again", StoreWarning, stacklevel=3
        )


def _fsspec(url: str) -> Any:
    """Return fsspec, told to verify hosts' keys, which sshfs leaves out unless someone says otherwise; in a chain of URLs too."""
    try:
        import fsspec  # noqa: PLC0415 - only who shares results needs it

        if "ssh://" in url or "sftp://" in url:
            import sshfs  # noqa: F401, PLC0415 - fsspec's own client of SFTP takes any host
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{VARIABLE} needs {error.name}, which isn't installed; pip install 'edgepress[scale]'"
        ) from error
    fsspec.config.conf.setdefault("ssh", {}).setdefault("known_hosts", ())
    return fsspec


def _put(record: Mapping[str, Any], artifact: Artifact, files: Any, root: str) -> None:
    sizes = {name: size_bytes for _, size_bytes, name in list_files(artifact.path)}
    for name in sizes:
        place = f"{root}/objects/{artifact.digest}/{name}"
        files.makedirs(place.rpartition("/")[0], exist_ok=True)
        files.put_file(str(artifact.path / name), place)
    files.makedirs(f"{root}/runs", exist_ok=True)
    content = canonical_json({**record, "digest": artifact.digest, "files": sizes})
    files.pipe_file(f"{root}/runs/{record['key']}.json", content.encode())


@contextmanager
def _asked(*expected: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong far away into one error, but for what is expected: each protocol has its own."""
    try:
        yield
    except expected:
        raise
    except Exception as error:
        raise _AwayError(" ".join(f"{type(error).__name__}: {error}".split())[:200]) from error


def _checked(record: Any) -> dict[str, Any]:
    """Return a record as it was given; ValueError where it isn't one."""
    known = {"digest": str, "parts": dict, "seconds": int | float, "circumstances": dict, "files": dict}
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in known.items()):
        raise ValueError(f"a record holds {', '.join(known)}")
    if not DIGEST.fullmatch(record["digest"]) or not 0 <= record["seconds"] < math.inf:
        raise ValueError(f"its digest is {record['digest']!r:.80}, its seconds are {record['seconds']!r:.40}")
    return record


def _listed(files: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Give names and sizes in bytes; ValueError where a name leaves its folder, or all that is too much."""
    left = MOST_BYTES
    for name, size_bytes in files.items():
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in name
            or "\0" in name
            or str(path) != name
            or len(os.fsencode(name)) > MOST_NAME_BYTES
        ):
            raise ValueError(f"{name!r:.80} is no name of a file in it")
        if not isinstance(size_bytes, int) or not 0 <= size_bytes <= left:
            raise ValueError(f"{name!r:.80} would have {size_bytes!r:.40} bytes, and {MOST_BYTES} are the most in all")
        left -= size_bytes
        yield name, size_bytes


@cache
def _of(url: str) -> SharedStore:
    return SharedStore(url)


def shared_store() -> SharedStore | None:
    """Return the store on EDGEPRESS_SHARED, one a process; None where that is empty or not set."""
    url = os.environ.get(VARIABLE)
    return _of(url) if url else None
