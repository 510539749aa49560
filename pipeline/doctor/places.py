"""Places: can the store and the cache be written, how large is the store, and how much room is left?"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from pipeline.doctor.finding import Finding
from pipeline.shared import VARIABLE, shared_store
from pipeline.store import default_store

TIGHT_MIB = 2048
"""Less free space than this is told: the emulated Arm takes 700 MB, a demo's store some hundred."""
LOOK_SECONDS = 0.1
MIB = 2**20


def findings() -> Iterator[Finding]:
    """Judge the folders that edgepress writes into; makes none of them."""
    cache = Path(os.environ.get("EDGEPRESS_CACHE") or platformdirs.user_cache_dir("edgepress"))
    yield _place("store", default_store().absolute(), "EDGEPRESS_STORE")
    if shared := shared_store():
        trouble = shared.trouble()
        advice = f"see that it answers, or unset {VARIABLE}" if trouble else ""
        yield Finding("shared store", f"{shared.name}: {trouble or 'answers'}", "wrong" if trouble else "ok", advice)
    yield _place("cache", cache.absolute(), "EDGEPRESS_CACHE")


def _place(about: str, folder: Path, variable: str) -> Finding:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(about, f"{folder} can't be written", "wrong", f"name another folder in {variable}")
    free_mib = shutil.disk_usage(there).free / MIB
    found = f"{folder}: {_used(folder)}, {free_mib / 1024:.1f} GiB free"
    if free_mib < TIGHT_MIB:
        advice = "free some space: edgepress gc" if about == "store" else f"name another folder in {variable}"
        return Finding(about, found, "note", advice)
    return Finding(about, found)


def _used(folder: Path) -> str:
    """Return the size of a folder, as far as it is told in a moment."""
    if not folder.exists():
        return "not made yet"
    until, size_bytes = time.monotonic() + LOOK_SECONDS, 0
    for parent, _, files in os.walk(folder):
        if time.monotonic() > until:
            return f"more than {size_bytes / MIB:.0f} MiB"
        for name in files:
            path = Path(parent) / name
            size_bytes += path.lstat().st_size if path.exists() else 0
    return f"{size_bytes / MIB:.0f} MiB"
