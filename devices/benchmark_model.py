"""LiteRT's own program `benchmark_model`: its command line, and what it prints.

A phone has no Python; this one binary runs any TFLite file there. It reports no samples, only a summary of each process
(google-ai-edge/LiteRT, tflite/tools/benchmark/benchmark_model.cc: BenchmarkLoggingListener; the line of counts is
xla/tsl/util/stats_calculator.h: Stat and StatWithPercentiles):

    INFO: count=9 first=81913 curr=55502 min=55502 max=81913 avg=58984.7 std=8115                                (warm-up)
    INFO: count=50 first=56576 curr=56299 min=54669 max=60236 avg=56265.8 std=982 p5=55001 median=56250 p95=58000
    INFO: Inference timings in us: Init: 3337, First inference: 81913, Warmup (avg): 58984.7, Inference (avg): 56265.8
    INFO: Memory footprint delta from the start of the tool (MB): init=4.58984 overall=7.82031

Older builds print no percentiles: then a process's mean stands for its median, and `how` says so. Microseconds are
whole. Equal samples are written `count=50 curr=12(all same)`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from devices import Request
from pipeline.errors import DeviceError

NUMBER = r"([0-9.e+]+)"
COUNTS = re.compile(rf"count=(\d+) (?:first=\d+ )?curr=(\d+)(?:.*? avg={NUMBER})?(?:.*? median=(\d+))?")
TIMINGS = re.compile(rf"Inference timings in us: Init: (\d+), First inference: (\d+), .*Inference \(avg\): {NUMBER}")
MEMORY = re.compile(rf"Memory footprint delta .*\(MB\): init={NUMBER} overall={NUMBER}")
DELEGATED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
KIB_IN_MB = 1024
"""The program divides KiB by 1024 and calls it MB."""


@dataclass(frozen=True)
class Summary:
    """What one process printed; `median_us` None where the build tells none, `peak_kib` where the system doesn't."""

    count: int
    median_us: float | None
    mean_us: float
    load_us: float
    first_us: float
    peak_kib: float | None
    delegated: str

    @property
    def typical_us(self) -> float:
        """The median, or the mean where there is none."""
        return self.mean_us if self.median_us is None else self.median_us


def command_line(program: str, model: str, request: Request) -> list[str]:
    """Return the program's command line for one process of a request; it has no upper number of runs."""
    arguments = [program, f"--graph={model}", f"--num_threads={request.threads}", f"--num_runs={request.min_runs}"]
    arguments += [f"--min_secs={request.min_seconds}", f"--max_secs={request.max_seconds}"]
    arguments += [f"--warmup_min_secs={request.warmup_seconds}", "--warmup_runs=1"]
    return [*arguments, *_shapes(request)]


def _shapes(request: Request) -> list[str]:
    if request.inputs:
        raise DeviceError("benchmark_model can't be given the samples of an .npz; measure with random inputs")
    if not request.shapes:
        return []
    if odd := [name for name, _ in request.shapes if set(name) & set(",:")]:
        raise DeviceError(f"benchmark_model can't be given an input named {odd[0]!r}: it splits names at , and :")
    names = ",".join(name for name, _ in request.shapes)
    return [
        f"--input_layer={names}",
        f"--input_layer_shape={':'.join(shape.replace('x', ',') for _, shape in request.shapes)}",
    ]


def read_summary(text: str, where: str) -> Summary:
    """Return what a process printed; DeviceError when it isn't a benchmark's summary."""
    counts, timings = COUNTS.findall(text), TIMINGS.search(text)
    if timings is None or len(counts) < 2:
        raise DeviceError(
            f"{where}: benchmark_model printed no timings; is it LiteRT's benchmark_model, for this phone?"
        )
    count, current, mean, median = counts[-1]
    memory, delegated = MEMORY.search(text), DELEGATED.search(text)
    try:
        summary = Summary(
            count=int(count),
            median_us=float(median or current) if median or not mean else None,
            mean_us=float(mean or current),
            load_us=float(timings[1]),
            first_us=float(timings[2]),
            peak_kib=float(memory[2]) * KIB_IN_MB if memory else None,
            delegated=f"{delegated[3]} ran {delegated[1]} of {delegated[2]} operators" if delegated else "",
        )
    except ValueError as error:
        raise DeviceError(f"{where}: benchmark_model's summary can't be read ({error})") from error
    if summary.count <= 0 or not math.isfinite(summary.typical_us) or summary.typical_us <= 0:
        raise DeviceError(
            f"{where}: benchmark_model timed nothing: a run took less than a microsecond, or none was made"
        )
    return summary


def complaint(stdout: str, stderr: str) -> str:
    """Return the first line that says what went wrong, empty where none does; the last says only that something did."""
    lines = [line.strip() for line in (*stderr.splitlines(), *stdout.splitlines())]
    return next((line[:200] for line in lines if line.startswith(("ERROR", "FATAL"))), "")


def told(summaries: Sequence[Summary]) -> str:
    """Say in a few words what the figures rest on."""
    statistic = (
        "medians"
        if all(summary.median_us is not None for summary in summaries)
        else "means, the build tells no medians,"
    )
    delegated = sorted({summary.delegated for summary in summaries if summary.delegated})
    return "; ".join([f"{statistic} of {len(summaries)} processes of benchmark_model", *delegated])
