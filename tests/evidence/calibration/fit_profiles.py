"""Print the [calibration] table of each target, from counts.json and the published latencies: what stands in the profiles.

    python tests/evidence/calibration/fit_profiles.py

A test holds the profiles to it. The figures are those of XNNPACK's README (75db3c0), "Raspberry Pi" (benchmarked on Feb 8, 2022, as many
threads as the board has cores, random weights and inputs); `fitted` was chosen before anything was fitted: the networks of
which both precisions were published. The others were only ever predicted.
"""

import json
from pathlib import Path

from devices.arm.counts import CLASSES, Counts
from devices.latency_model import LINE_BYTES, band, checks, fit, work
from targets import Published, load_target

COUNTS = Path(__file__).with_name("counts.json")
THREADS = 4
SOURCE = "xnnpack-readme"
PUBLISHED_MS = {
    "raspberry-pi-4": {
        "mobilenet-v1-224 float32": 77,
        "mobilenet-v2-224 float32": 46,
        "mobilenet-v1-224 int8": 24,
        "mobilenet-v2-224 int8": 17,
        "mobilenet-v3-large-224 float32": 40,
        "mobilenet-v3-small-224 float32": 15,
    },
    "raspberry-pi-3b-plus": {
        "mobilenet-v1-224 float32": 114,
        "mobilenet-v2-224 float32": 79,
        "mobilenet-v1-224 int8": 46,
        "mobilenet-v2-224 int8": 30,
        "mobilenet-v3-large-224 float32": 67,
        "mobilenet-v3-small-224 float32": 22,
    },
}
"""Columns "RPi 4 (BCM2711, ARM64)" and "RPi 3+ (BCM2837B0)"; the latter was a 32-bit system, what is counted here is 64-bit."""


def points(target: str) -> tuple[Published, ...]:
    """Return the published figures of a target with what was counted of their networks."""
    counts = json.loads(COUNTS.read_text(encoding="utf-8"))[target]
    emulation = load_target(target).emulation
    assert emulation is not None
    found = []
    for name, latency_ms in PUBLISHED_MS[target].items():
        facts = counts[name]
        counted = Counts(
            instructions=facts["instructions"],
            by_class={each: facts[f"instructions.{each}"] for each in CLASSES},
            caches={"memory_lines": facts["memory_traffic"] * 1024 / LINE_BYTES},
        )
        asked = work(counted, emulation.qemu_cpu)
        network, precision = name.split()
        found.append(
            Published.model_validate(
                {
                    "network": network,
                    "precision": precision,
                    "threads": THREADS,
                    "latency_ms": float(latency_ms),
                    "mega_cycles": round(asked.mega_cycles, 2),
                    "traffic_mb": round(asked.traffic_mb, 2),
                    "fitted": "-v3-" not in network,
                    "source": SOURCE,
                }
            )
        )
    return tuple(found)


def table(target: str) -> str:
    """Return the target's [calibration] as TOML."""
    clock = load_target(target).cores[0].clock_mhz
    assert clock is not None
    found = points(target)
    compute, ms_per_mb = fit([point for point in found if point.fitted], clock.value)
    low, high = band(checks(found, clock.value))
    runtime = json.loads(COUNTS.read_text(encoding="utf-8"))[target]["mobilenet-v1-224 int8"]["runtime"]
    lines = [
        "[calibration]",
        f"compute = {compute:.4f}",
        f"ms_per_mb = {ms_per_mb:.4f}",
        f"low_percent = {low:.1f}",
        f"high_percent = {high:.1f}",
        f'runtime = "{runtime}"',
    ]
    for point in found:
        lines += ["", "[[calibration.published]]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in point.model_dump().items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name in PUBLISHED_MS:
        print(f"# {name}\n{table(name)}")
