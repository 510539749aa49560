"""The latency model: its arithmetic, what its errors say, and that the profiles hold what was fitted."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from devices.arm.counts import CLASSES, Counts
from devices.latency_model import CORES, STUDENT_T, Check, Work, band, checks, estimate, fit, latency_ms, work
from pipeline.errors import DeviceError
from targets import Published, known_targets, load_target

CALIBRATION = Path(__file__).parents[1] / "evidence" / "calibration"
CALIBRATED = [name for name in known_targets() if load_target(name).calibration]
CLOCK_MHZ = 1000.0


def figure(
    mega_cycles: float, traffic_mb: float, latency_ms: float, *, fitted: bool = True, threads: int = 1
) -> Published:
    return Published(
        network="n",
        precision="int8",
        threads=threads,
        latency_ms=latency_ms,
        mega_cycles=mega_cycles,
        traffic_mb=traffic_mb,
        fitted=fitted,
        source="s",
    )


def exact(a: float, b: float, *, threads: int = 1) -> list[Published]:
    asked = ((10.0, 1.0), (20.0, 9.0), (5.0, 4.0), (80.0, 2.0))
    return [figure(c, d, a * c * 1000 / (threads * CLOCK_MHZ) + b * d, threads=threads) for c, d in asked]


def counted(lines: float = 0.0, **by_class: float) -> Counts:
    every = {**dict.fromkeys(CLASSES, 0.0), **by_class}
    return Counts(sum(every.values()), every, {"memory_lines": lines})


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fit_profiles", CALIBRATION / "fit_profiles.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_busiest_part_of_a_core_counts() -> None:
    mostly_loads = counted(load=9e6, float_multiply_add=3e6)
    mostly_products = counted(load=3e6, float_multiply_add=9e6)
    mostly_other = counted(integer=30e6, float_multiply_add=1e6)

    assert work(mostly_loads, "cortex-a72").mega_cycles == 9
    assert work(mostly_products, "cortex-a72").mega_cycles == 9
    assert work(mostly_other, "cortex-a72").mega_cycles == pytest.approx(31 / 3)
    assert work(mostly_products, "cortex-a53").mega_cycles == 18


def test_traffic_is_what_no_cache_held() -> None:
    assert work(counted(lines=1e6, integer=1.0), "cortex-a72").traffic_mb == 64


def test_a_core_without_published_figures_has_no_model() -> None:
    with pytest.raises(DeviceError, match=r"no latency model for cortex-a76 .*: cortex-a53, cortex-a72"):
        work(counted(integer=1.0), "cortex-a76")


def test_caches_that_were_not_modelled_have_no_model() -> None:
    with pytest.raises(DeviceError, match="without its caches' sizes"):
        work(Counts(1.0, {}, {}), "cortex-a72")


def test_threads_share_the_cycles_and_not_the_memory() -> None:
    asked = Work(mega_cycles=100, traffic_mb=10)

    assert latency_ms(asked, (2.0, 0.5), clock_mhz=CLOCK_MHZ, threads=1) == 205
    assert latency_ms(asked, (2.0, 0.5), clock_mhz=CLOCK_MHZ, threads=4) == 55


@pytest.mark.parametrize("threads", [1, 4])
def test_a_fit_finds_the_constants_that_made_the_figures(threads: int) -> None:
    found = fit(exact(1.5, 0.7, threads=threads), CLOCK_MHZ)

    assert found == pytest.approx((1.5, 0.7))
    assert [check.error for check in checks(exact(1.5, 0.7), CLOCK_MHZ)] == pytest.approx([0, 0, 0, 0], abs=1e-9)


def test_neither_constant_is_negative() -> None:
    less_for_more_traffic = [figure(10, 1, 20), figure(20, 9, 30), figure(5, 4, 5)]

    a, b = fit(less_for_more_traffic, CLOCK_MHZ)

    assert a > 0
    assert b == 0


def test_a_figure_is_predicted_by_a_fit_that_never_saw_it() -> None:
    wrong = figure(40, 5, 500)
    others = exact(1.5, 0.7)

    [*_, check] = checks([*others, wrong], CLOCK_MHZ)

    assert check.predicted_ms == pytest.approx(1.5 * 40 + 0.7 * 5)
    assert check.error == pytest.approx(63.5 / 500 - 1)


def test_the_band_holds_95_percent_of_errors_like_those_seen() -> None:
    random = np.random.default_rng(0)
    ratios = np.exp(0.2 * random.standard_normal((2000, 7)))
    inside = 0
    for row in ratios:
        low, high = band([Check(figure(1, 1, 1), 1.0, ratio - 1) for ratio in row[:6]])
        inside += low / 100 <= row[6] - 1 <= high / 100

    # The two constants of a real fit cost two degrees of freedom, which errors out of the fit have not used up: a little wide.
    assert 0.94 <= inside / len(ratios) <= 0.99


def test_the_band_is_symmetric_as_a_ratio() -> None:
    low, high = band([Check(figure(1, 1, 1), 1.0, error) for error in (0.1, -0.2, 0.05, 0.3, -0.1, 0.0)])

    assert (1 + low / 100) * (1 + high / 100) == pytest.approx(1)
    assert high > 30


def test_quantiles_fall_towards_the_normal_one() -> None:
    assert sorted(STUDENT_T.values(), reverse=True) == list(STUDENT_T.values())
    assert min(STUDENT_T.values()) > 1.96


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_profile_holds_what_was_counted_and_fitted(name: str) -> None:
    calibration = load_target(name).calibration
    script = load_script()

    assert script.points(name) == (calibration and calibration.published)
    profile = (CALIBRATION.parents[2] / "targets" / f"{name}.toml").read_text(encoding="utf-8")
    assert profile.endswith(script.table(name))


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_calibration_was_tried_on_networks_that_it_never_saw(name: str) -> None:
    target = load_target(name)
    assert target.calibration is not None
    assert target.emulation is not None
    assert target.cores[0].clock_mhz is not None
    found = checks(target.calibration.published, target.cores[0].clock_mhz.value)
    never_fitted = [check for check in found if not check.published.fitted]

    assert target.emulation.qemu_cpu in CORES
    assert len(never_fitted) >= 1
    for check in found:
        assert target.calibration.low_percent <= 100 * check.error <= target.calibration.high_percent


def test_an_estimate_carries_its_band() -> None:
    calibration = load_target("raspberry-pi-4").calibration
    assert calibration is not None

    found = estimate(Work(15.0, 0.0), calibration, clock_mhz=1500, threads=1)

    assert found.value == pytest.approx(10 * calibration.compute)
    assert found.low < 0.65 * found.value
    assert found.high > 1.6 * found.value
