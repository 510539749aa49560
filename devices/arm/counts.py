"""What the plug-in counted: one line of JSON a marked region, read with bounds, since the guest runs someone else's file.

The regions are, in order: two empty ones and two runs to warm up, one empty region, then the counted runs. The empty region is
what marks cost (two system calls from Python); it is taken off each run. Of several runs the median stands, class by class.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DeviceError

MOST_BYTES = 2**20
WARM_REGIONS = 4
CLASSES = (
    *("integer", "multiply", "branch", "load", "store", "vector_load", "vector_store"),
    *("float_multiply_add", "float_other", "dot_product", "i8mm", "vector_multiply", "vector_other", "sve", "other"),
)
"""Of instructions, as edgecount.c names them."""
CACHES = ("l1d_misses", "l1i_misses", "l2_misses", "memory_lines")
"""Where the model of caches was on; `memory_lines` are lines of 64 bytes that no cache held."""


@dataclass(frozen=True)
class Counts:
    """One inference: `by_class` sums to `instructions`; `caches` is empty where no cache was modelled."""

    instructions: float
    by_class: dict[str, float]
    caches: dict[str, float]


def read_counts(path: Path, runs: int) -> Counts:
    """Return what one run of the model costs; DeviceError when the file isn't what the plug-in writes for so many runs."""
    return read_all(path, runs, files=1)[0]


def read_all(path: Path, runs: int, *, files: int) -> list[Counts]:
    """Return what one run costs of each file that a process counted, one after the other; DeviceError as above."""
    try:
        with path.open("rb") as file:
            lines = file.read(MOST_BYTES).decode("ascii").splitlines()
        regions = [_region(line) for line in lines]
    except (OSError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DeviceError(f"qemu's plug-in left no counts that can be read ({error!r:.200})") from error
    each = WARM_REGIONS + 1 + runs
    if len(regions) != each * files:
        raise DeviceError(f"qemu's plug-in counted {len(regions)} regions; {each * files} were marked")
    return [_of_one(regions[first : first + each]) for first in range(0, len(regions), each)]


def _of_one(regions: Sequence[Mapping[str, int]]) -> Counts:
    marks, counted = regions[WARM_REGIONS], regions[WARM_REGIONS + 1 :]
    middle = {
        name: max(0.0, statistics.median(region[name] for region in counted) - marks[name]) for name in counted[0]
    }
    return Counts(
        instructions=middle["instructions"],
        by_class={name: middle[name] for name in CLASSES},
        caches={name: middle[name] for name in CACHES if name in middle},
    )


def _region(line: str) -> dict[str, int]:
    found = json.loads(line)
    names = {"instructions", *CLASSES}
    if not isinstance(found, dict) or set(found) not in (names, names | set(CACHES)):
        raise ValueError(f"not a line of counts: {line[:80]}")
    region = {str(name): int(value) for name, value in found.items()}
    if min(region.values()) < 0:
        raise ValueError(f"a negative count: {line[:80]}")
    return region
