"""Leases: a board serves one measurement at a time, whoever asks and on whichever machine.

A lease is a file lock in a folder that all share, EDGEPRESS_LEASES, else `leases` in the user's cache; the system frees it when its
holder dies. Its name is the board's without the user and ssh's usual port, so that a pool and a spec of one board exclude each other; two
names of one host don't. The thread that holds a lease may take it again, as the board of a pool does.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from devices.arm.userland import cache_folder
from pipeline.errors import DeviceError

WAIT_SECONDS = 3600.0
FOR_ALL = 0o666
"""Who shares the folder may be another user."""


@contextmanager
def waited_for(board: str) -> Iterator[None]:
    """Hold a board's lease as soon as it is free, and say so where that takes a while; DeviceError where it takes too long."""
    with lease(board) as free:
        if free:
            yield
            return
    limit = f"{WAIT_SECONDS / 60:.0f} minutes"
    print(f"{board} is at work for another measurement; waiting for it, {limit} at most", file=sys.stderr)  # noqa: T201 - who waits must know why
    with lease(board, seconds=WAIT_SECONDS) as free:
        if not free:
            raise DeviceError(f"{board} was at work for others for {limit}; try again later, or measure on another")
        yield


@contextmanager
def lease(board: str, *, seconds: float = 0.0) -> Iterator[bool]:
    """Hold a board's lease if it gets free in so many seconds; gives whether it did."""
    path = folder() / f"{_key(board)}.lock"
    lock = FileLock(path, mode=FOR_ALL, is_singleton=True)
    free = True
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        free = False
    except OSError as error:
        raise not_kept(path, error) from error
    try:
        yield free
    finally:
        lock.release()  # does nothing where it isn't held


def folder() -> Path:
    """Return the folder of leases, made where it isn't there."""
    named = os.environ.get("EDGEPRESS_LEASES")
    found = Path(named).absolute() if named else cache_folder() / "leases"
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_kept(found, error) from error
    return found


def not_kept(path: Path, error: OSError) -> DeviceError:
    """Return what to say where a file of the folder can't be written."""
    return DeviceError(
        f"leases of boards can't be kept: {path} ({error.strerror}); let everyone who shares it write there, or name another folder in EDGEPRESS_LEASES"
    )


def _key(board: str) -> str:
    address = re.sub(r"^ssh://(?:.*@)?(.*?)(?::22)?$", r"ssh://\1", board)
    return sha256(address.encode()).hexdigest()[:16]
