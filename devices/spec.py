"""The options of a device's spec: what stands behind its "?", as `key=value` joined by "&", `%20` for a space.

ssh://pi@board?cores=2,3&python=/opt/py/bin/python3      adb:SERIAL?benchmark=benchmark_model      replay:old.jsonl?device=host
"""

from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import DeviceError, did_you_mean

MOST_CORES = 1024


def split_options(spec: str, allowed: Collection[str]) -> tuple[str, dict[str, str]]:
    """Return what stands before the options, and the options; DeviceError for one that isn't known, empty or given twice."""
    head, mark, tail = spec.partition("?")
    options: dict[str, str] = {}
    for part in tail.split("&") if mark else ():
        key, _, value = part.partition("=")
        if key not in allowed:
            raise DeviceError(
                f"{head!r:.120}: no option {key!r:.60}; known: {', '.join(allowed)}{did_you_mean(key, allowed)}"
            )
        if not value or key in options:
            raise DeviceError(f"{head!r:.120}: option {key!r:.60} needs one value")
        options[key] = unquote(value)
    return head, options


def read_cores(text: str, spec: str) -> tuple[int, ...]:
    """Return the cores of an option like "2,3"."""
    cores = text.split(",")
    if not all(core.isascii() and core.isdigit() and int(core[:6]) < MOST_CORES for core in cores):
        raise DeviceError(f"{spec!r:.120}: cores={text!r:.60} isn't a list of cores; write cores=2,3")
    return tuple(sorted({int(core) for core in cores}))


def read_path(text: str, spec: str) -> Path:
    """Return the path of an option, "~" and "~user" for their home folders."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DeviceError(
            f"{spec!r:.120}: {text!r:.120} begins with nobody's home folder; give the whole path"
        ) from error


def read_switch(text: str | None, key: str, spec: str) -> bool:
    """Return whether an option is on: "1", or off: "0" or left out."""
    if text not in (None, "0", "1"):
        raise DeviceError(f"{spec!r:.120}: {key}={text!r:.60} is neither 0 nor 1")
    return text == "1"
