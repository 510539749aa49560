"""What edgepress itself costs: `make bench`. Each figure stands beside a baseline of the same run; medians, two shared cores."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
ONE_EPOCH = [f"--set={stage}.epochs=1" for stage in ("teach", "distill", "prune", "quantize")]


def main() -> None:
    """Print every figure."""
    start_up()
    for script in ("training_overhead.py", "recorded_teacher.py", "searching.py", "shared_prefixes.py"):
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run([sys.executable, str(Path(__file__).with_name(script))], check=True, env=environment)
    demo()


def start_up() -> None:
    """A light command against an empty Python."""
    empty = median_s([sys.executable, "-c", "pass"])
    for arguments in (["--help"], ["targets"], ["targets", "pixel-8"]):
        command = median_s([EDGEPRESS, *arguments])
        print(
            f"edgepress {' '.join(arguments):<18} {command:.3f} s, {command / empty:.1f} times an empty Python ({empty:.3f} s)"
        )


def demo() -> None:
    """The demo with one epoch a stage: its peak memory, and a fully cached run against the first."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "EDGEPRESS_STORE": f"{folder}/store"}
        command = [EDGEPRESS, "run", "digits", "--out", f"{folder}/out", *ONE_EPOCH]
        first = seconds(command, environment)
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        cached = statistics.median(seconds(command, environment) for _ in range(3))
    print(f"demo, one epoch a stage    {first:.1f} s, peak memory of its largest process {peak_mib:.0f} MiB")
    print(f"the same, fully cached     {cached:.1f} s, {cached / first:.2f} of the first run")


def median_s(command: list[str]) -> float:
    """Return the median wall time of seven runs."""
    return statistics.median(seconds(command, dict(os.environ)) for _ in range(7))


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return a command's wall time; a failed verdict (1) is a result, anything worse is not."""
    start = time.perf_counter()
    code = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode
    if code not in (0, 1):
        sys.exit(f"{' '.join(command)} ended with {code}")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
