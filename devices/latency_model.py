"""A latency from counts: what an Arm core needs for an inference, estimated from instructions and modelled traffic to memory.

    t = a C / (n f) + b D

t: milliseconds; C: cycles of the busiest part of one core, in thousands; n: threads; f: clock in MHz; D: megabytes that no cache
held. a and b are a core's constants, fitted to published latencies (least squares of relative errors). a takes up what C leaves
out: stalls, dependences, kernels of another year than ours. b is the time that memory takes and that no thread shares.

C is the largest of: vector cycles, load and store cycles, all instructions over the issue width. What an instruction occupies is
read from LLVM's scheduling models, llvm/lib/Target/AArch64 of github.com/llvm/llvm-project:
Cortex-A53: AArch64SchedA53.td, 02b3d4f: IssueWidth 2; A53UnitFPALU and A53UnitFPMDS, one each, two cycles for 128 bits
(WriteVq, A53WriteFMACQ); A53UnitLdSt, one for both.
Cortex-A72, which LLVM schedules as an A57: AArch64SchedA57.td, 1d7cce3: IssueWidth 3; A57UnitX and A57UnitW for vectors, of which
floating point of 128 bits takes both (A57WriteFPVMAQ, A57Write_5cyc_2V) and integers one, long products W alone
(A57Write_5cyc_1W_Mul_Forward); A57UnitL, and A57UnitS twice for a store of 128 bits (A57Write_2cyc_2S).
A load or store of 128 bits takes an A53 two cycles, since its path is 64 bits wide. Every vector is taken for 128 bits.

How far to trust it: few points and two constants, networks of one family, published kernels of 2022 and counts of today's. So
the band is wide: each published figure is predicted by a fit that never saw it, and the band is the 95 % prediction interval of
the logarithms of those ratios, by Student's t with two degrees of freedom fewer than there are figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.errors import DeviceError
from targets import Calibration, Published

LINE_BYTES = 64
STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228}
"""The 0.975 quantile by degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2."""


class Counted(Protocol):
    """What the model needs of a count; `devices.arm.counts.Counts` is one."""

    @property
    def instructions(self) -> float:
        """All of them."""

    @property
    def by_class(self) -> Mapping[str, float]:
        """By the names of edgecount.c."""

    @property
    def caches(self) -> Mapping[str, float]:
        """With "memory_lines"; empty where no cache was modelled."""


@dataclass(frozen=True)
class Core:
    """Cycles that an instruction occupies a part of the core, by class; `parts` are worked in parallel."""

    width: int
    parts: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Work:
    """What an inference asks of a core: C in millions of cycles, D in megabytes."""

    mega_cycles: float
    traffic_mb: float


@dataclass(frozen=True)
class Estimate:
    """A latency in milliseconds and the band that errors out of the fit span."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Check:
    """A published figure beside what the model says: `error` is the prediction's (0.1 = 10 % too long) when the figure is left out."""

    published: Published
    predicted_ms: float
    error: float


CORES = {
    "cortex-a53": Core(
        width=2,
        parts=(
            {"float_other": 2.0, "vector_multiply": 2.0, "vector_other": 2.0},
            {"float_multiply_add": 2.0},
            {"load": 1.0, "store": 1.0, "vector_load": 2.0, "vector_store": 2.0},
        ),
    ),
    "cortex-a72": Core(
        width=3,
        parts=(
            {"float_multiply_add": 1.0, "float_other": 1.0, "vector_multiply": 0.5, "vector_other": 0.5},
            {"vector_multiply": 1.0},
            {"load": 1.0, "vector_load": 1.0},
            {"store": 1.0, "vector_store": 2.0},
        ),
    ),
}
"""By QEMU's name of the core. A core that isn't here has no published figures to be fitted to."""


def work(counted: Counted, cpu: str) -> Work:
    """Return C and D of an inference; DeviceError for a core that the model doesn't know, or without modelled caches."""
    if cpu not in CORES or "memory_lines" not in counted.caches:
        known = ", ".join(sorted(CORES))
        raise DeviceError(f"no latency model for {cpu} without its caches' sizes; cores it knows: {known}")
    core = CORES[cpu]
    busy = [sum(cost * counted.by_class.get(name, 0.0) for name, cost in part.items()) for part in core.parts]
    cycles = max(*busy, counted.instructions / core.width)
    return Work(cycles / 1e6, counted.caches["memory_lines"] * LINE_BYTES / 1e6)


def estimate(asked: Work, calibration: Calibration, *, clock_mhz: float, threads: int) -> Estimate:
    """Return the latency of an inference on a calibrated target."""
    value = latency_ms(asked, (calibration.compute, calibration.ms_per_mb), clock_mhz=clock_mhz, threads=threads)
    return Estimate(value, value / (1 + calibration.high_percent / 100), value / (1 + calibration.low_percent / 100))


def latency_ms(asked: Work, constants: tuple[float, float], *, clock_mhz: float, threads: int) -> float:
    """Return t of the formula; `constants` are a and b."""
    a, b = constants
    return a * asked.mega_cycles * 1000 / (threads * clock_mhz) + b * asked.traffic_mb


def fit(points: Sequence[Published], clock_mhz: float) -> tuple[float, float]:
    """Return a and b that make the sum of squared relative errors least, neither below 0."""
    rows = np.array(
        [(latency_ms(_work(p), (1, 0), clock_mhz=clock_mhz, threads=p.threads), p.traffic_mb) for p in points]
    )
    rows /= np.array([[point.latency_ms] for point in points])
    a, b = np.linalg.lstsq(rows, np.ones(len(points)), rcond=None)[0]
    if b < 0 or a < 0:  # one column alone then explains most
        best = min((0, 1), key=lambda column: _residual(rows[:, column]))
        alone = _scale(rows[:, best])
        a, b = (alone, 0.0) if best == 0 else (0.0, alone)
    return float(a), float(b)


def checks(published: Sequence[Published], clock_mhz: float) -> list[Check]:
    """Return for each figure the prediction of a fit that never saw it: without it, if it is one of those fitted."""
    fitted = [point for point in published if point.fitted]
    found = []
    for point in published:
        constants = fit([other for other in fitted if other is not point], clock_mhz)
        predicted = latency_ms(_work(point), constants, clock_mhz=clock_mhz, threads=point.threads)
        found.append(Check(point, predicted, predicted / point.latency_ms - 1))
    return found


def band(found: Sequence[Check]) -> tuple[float, float]:
    """Return the least and the largest error in percent that a prediction is likely to have: 95 %, symmetric as a ratio."""
    logs = np.log1p([check.error for check in found])
    freedom = min(max(1, len(logs) - 2), max(STUDENT_T))
    half = STUDENT_T[freedom] * float(np.sqrt((logs**2).mean() * (1 + 1 / len(logs))))
    return 100 * float(np.expm1(-half)), 100 * float(np.expm1(half))


def _work(point: Published) -> Work:
    return Work(point.mega_cycles, point.traffic_mb)


def _scale(column: np.ndarray) -> float:
    return float(column.sum() / (column @ column))


def _residual(column: np.ndarray) -> float:
    return float(((_scale(column) * column - 1) ** 2).sum())
