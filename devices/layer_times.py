"""What each operator of a file takes, where a runtime tells: read from ONNX Runtime's profile.

With `enable_profiling` ONNX Runtime writes an event a node and run, in whole microseconds; a node is named as the optimised graph
names it, so that fused operators stand as one (https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html).
Timing a node takes time too, which its event holds: about 2 us, even for a Squeeze. Where a network takes some 50 us, that is a good
part of the sum, and `caveat` says so.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pipeline.errors import DeviceError

MOST_PROFILE_BYTES = 2**27
LONGEST_NAME = 80


@dataclass(frozen=True)
class LayerTime:
    """One operator: `value` is the median over runs in `unit`, `share` its part of the sum of all (0 to 1)."""

    operator: str
    name: str
    value: float
    unit: str
    share: float


def read_profile(path: Path) -> tuple[LayerTime, ...]:
    """Return the nodes of ONNX Runtime's profile in the order in which they ran; DeviceError when it can't be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_PROFILE_BYTES + 1)
        if len(text) > MOST_PROFILE_BYTES:
            raise DeviceError(f"the profile is larger than {MOST_PROFILE_BYTES} bytes; the model has too many nodes")
        taken: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in json.loads(text):
            if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time"):
                key = (str(event["args"]["op_name"]), str(event["name"]).removesuffix("_kernel_time"))
                taken[key].append(float(event["dur"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DeviceError(f"ONNX Runtime's profile can't be read ({error!r}); leave out --per-layer") from error
    return shared((operator, name, median(times), "us") for (operator, name), times in taken.items())


def shared(rows: Iterable[tuple[str, str, float, str]]) -> tuple[LayerTime, ...]:
    """Return rows of (operator, name, value, unit) with each one's share of the sum."""
    known = [row for row in rows if math.isfinite(row[2])]
    total = sum(value for _, _, value, _ in known) or 1.0
    return tuple(
        LayerTime(operator, _printable(name), value, unit, value / total) for operator, name, value, unit in known
    )


def caveat(layers: Sequence[LayerTime]) -> str:
    """Return what must stand beside times of ONNX Runtime's profile; nothing beside an account in other units."""
    if not layers or layers[0].unit != "us":
        return ""
    least = min(layer.value for layer in layers)
    return (
        f"ONNX Runtime's profile, in whole microseconds, with its own time in each operator ({least:g} us in the quickest): "
        "operators near that are mostly the profile, and the sum isn't the latency"
    )


def _printable(name: str) -> str:
    return "".join(letter for letter in name if letter.isprintable())[:LONGEST_NAME]
