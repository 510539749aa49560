"""What was measured is measured once, and what was disturbed is never used again."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices import QUICK, Label, Measurement, Request
from devices.host import Host
from pipeline.artifact import file_digest
from pipeline.bench import PAIRED, compare, in_words, measure, measure_pair, ratio_text
from pipeline.errors import DeviceError, ModelError
from tests.bench_files import write_external_onnx
from tests.small_files import write_float_onnx, write_onnx


class Memory:
    """Observations in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def observe(self, key: str, observation: Mapping[str, Any]) -> None:
        self.kept[key].append(dict(observation))

    def observations(self, key: str) -> list[dict[str, Any]]:
        return self.kept[key]


class Recorded:
    """A device that says the same of every file and remembers what it was asked."""

    name, machine = "recorded", "none"

    def __init__(self, *, valid: bool = True, version: str = "1") -> None:
        self.valid, self.version = valid, version
        self.asked: list[list[str]] = []

    def runtime(self, model: Path) -> tuple[str, str]:
        return model.suffix, self.version

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        self.asked.append([model.name for model in models])
        digests = tuple(file_digest(model) for model in models)
        medians = tuple(10.0 + len(self.asked) for _ in range(request.processes))
        made: list[tuple[Measurement, ...]] = []
        for model, digest in zip(models, digests, strict=True):
            why = "" if self.valid else "the machine was busy"
            latency = Measurement(
                model=model.name,
                model_sha256=digest,
                quantity="latency",
                unit="us",
                label="measured",
                device=self.name,
                machine=self.machine,
                runtime=model.suffix,
                runtime_version=self.version,
                threads=1,
                samples=9,
                processes=request.processes,
                process_medians=medians,
                valid=self.valid,
                why_invalid=why,
                together=digests,
                value=medians[0],
                low=medians[0],
                high=medians[0],
            )
            made.append((latency, replace(latency, quantity="load")))
        return made


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [write_onnx(tmp_path / "a.onnx"), write_float_onnx(tmp_path / "b.onnx")]


def test_a_valid_measurement_is_used_again(models: list[Path]) -> None:
    store, device = Memory(), Recorded()

    first = measure(models, device, QUICK, store, made_at="then")
    second = measure(models, device, QUICK, store, made_at="now")

    assert first == second
    assert {measurement.made_at for measured in second for measurement in measured} == {"then"}
    assert [measurement.quantity for measurement in second[0]] == ["latency", "load"]
    assert device.asked == [["a.onnx", "b.onnx"]]


def test_only_what_is_missing_is_measured(models: list[Path]) -> None:
    store, device = Memory(), Recorded()

    measure(models[:1], device, QUICK, store, made_at="then")
    measure(models, device, QUICK, store, made_at="now")

    assert device.asked == [["a.onnx"], ["b.onnx"]]


def test_fresh_measures_anew_and_its_figure_is_the_one_used_from_then_on(models: list[Path]) -> None:
    store, device = Memory(), Recorded()

    measure(models, device, QUICK, store, made_at="then")
    fresh = measure(models, device, QUICK, store, made_at="now", fresh=True)

    assert measure(models, device, QUICK, store, made_at="later") == fresh
    assert fresh[0][0].made_at == "now"


def test_an_invalid_measurement_is_kept_but_never_used_again(models: list[Path]) -> None:
    store, device = Memory(), Recorded(valid=False)

    measure(models[:1], device, QUICK, store, made_at="then")
    measure(models[:1], device, QUICK, store, made_at="now")

    assert device.asked == [["a.onnx"], ["a.onnx"]]
    assert [len(kept) for kept in store.kept.values()] == [2]


@pytest.mark.parametrize(
    ("device", "request_"), [(Recorded(), replace(QUICK, threads=2)), (Recorded(version="2"), QUICK)]
)
def test_another_request_or_runtime_is_another_measurement(
    models: list[Path], device: Recorded, request_: Request
) -> None:
    store = Memory()

    measure(models[:1], Recorded(), QUICK, store, made_at="then")
    measure(models[:1], device, request_, store, made_at="now")

    assert len(store.kept) == 2


def test_a_file_under_another_name_is_the_same_file(models: list[Path], tmp_path: Path) -> None:
    store, device = Memory(), Recorded()
    renamed = tmp_path / "renamed.onnx"
    renamed.write_bytes(models[0].read_bytes())

    measure(models[:1], device, QUICK, store, made_at="then")
    again = measure([renamed], device, QUICK, store, made_at="now")

    assert len(device.asked) == 1
    assert again[0][0].model == "renamed.onnx"


def test_the_same_file_given_twice_is_measured_once(models: list[Path]) -> None:
    device = Recorded()

    measured = measure([models[0], models[0]], device, QUICK, Memory(), made_at="now")

    assert device.asked == [["a.onnx"]]
    assert len(measured) == 2


def test_measurements_of_one_run_are_compared_turn_by_turn_and_others_are_not(models: list[Path]) -> None:
    store, device = Memory(), Recorded()
    a, b = (measured[0] for measured in measure(models, device, Request(), store, made_at="then"))
    later = measure(models[1:], device, Request(), store, made_at="now", fresh=True)[0][0]

    assert compare(a, b).interleaved
    assert not compare(a, later).interleaved
    assert compare(a, later).verdict == "faster"


def test_figures_of_different_numbers_of_processes_did_not_take_turns(models: list[Path]) -> None:
    a, b = (measured[0] for measured in measure(models, Recorded(), Request(), Memory(), made_at="then"))
    fewer = replace(b, processes=b.processes - 1, process_medians=b.process_medians[1:])

    assert not compare(a, fewer).interleaved


def test_a_pair_takes_turns_and_is_used_again_as_that_pair_alone(models: list[Path]) -> None:
    store, device = Memory(), Recorded()
    measure(models, device, PAIRED, store, made_at="then")

    first = measure_pair(models[0], models[1], device, PAIRED, store, made_at="now")
    again = measure_pair(models[0], models[1], device, PAIRED, store, made_at="later")
    measure_pair(models[1], models[0], device, PAIRED, store, made_at="later")

    assert first == again
    assert [quantities[0].model for quantities in first] == ["a.onnx", "b.onnx"]
    assert compare(first[0][0], first[1][0]).interleaved
    assert device.asked == [["a.onnx", "b.onnx"], ["a.onnx", "b.onnx"], ["b.onnx", "a.onnx"]]


def test_a_pair_of_equal_files_is_measured_as_two(models: list[Path]) -> None:
    device = Recorded()

    one, other = measure_pair(models[0], models[0], device, PAIRED, Memory(), made_at="now")

    assert device.asked == [["a.onnx", "a.onnx"]]
    assert compare(one[0], other[0]).verdict == "no difference shown"


def test_a_disturbed_pair_shows_nothing_and_is_not_used_again(models: list[Path]) -> None:
    store, device = Memory(), Recorded(valid=False)

    one, other = measure_pair(models[0], models[1], device, PAIRED, store, made_at="then")
    measure_pair(models[0], models[1], device, PAIRED, store, made_at="now")

    comparison = compare(replace(one[0], process_medians=(1.0,) * 12), other[0])
    assert (comparison.verdict, comparison.why) == ("no difference shown", "the machine was busy")
    assert len(device.asked) == 2


@pytest.mark.parametrize(
    ("first", "second", "label", "unit", "word"),
    [
        ((90, 90), (100, 100), "emulated", "instructions", "less"),
        ((110, 110), (100, 100), "emulated", "instructions", "more"),
        ((100, 100), (100, 100), "emulated", "instructions", "no difference shown"),
        ((50, 80), (90, 120), "estimated", "us", "faster"),
        ((50, 95), (90, 120), "estimated", "us", "no difference shown"),
        ((50, 50), (90, 90), "estimated", "us", "no difference shown"),
        ((50, 50), (0, 0), "estimated", "%", "no difference shown"),
    ],
)
def test_counts_and_estimates_are_compared_by_their_bands(
    models: list[Path], first: tuple[float, float], second: tuple[float, float], label: Label, unit: str, word: str
) -> None:
    [(some, _)] = measure(models[:1], Recorded(), QUICK, Memory(), made_at="now")
    one, other = (
        replace(some, label=label, unit=unit, low=low, high=high, value=(low + high) / 2)
        for low, high in (first, second)
    )

    assert in_words(compare(one, other), unit) == word


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.48, 0.98, "0.750 [0.480, 0.980]"),
        (0.48, 0.99996, "0.75000 [0.48000, 0.99996]"),
        (0.48, 1.0, "0.750 [0.480, 1.000]"),
    ],
)
def test_a_bound_that_is_not_1_never_reads_1(low: float, high: float, told: str) -> None:
    assert ratio_text(0.75, low, high) == told


def test_figures_of_two_quantities_are_not_compared(models: list[Path]) -> None:
    [(latency, load)] = measure(models[:1], Recorded(), QUICK, Memory(), made_at="now")

    with pytest.raises(DeviceError, match="nothing compares them"):
        compare(latency, load)


def test_other_samples_in_the_same_file_are_another_measurement(models: list[Path], tmp_path: Path) -> None:
    store, device, inputs = Memory(), Recorded(), tmp_path / "x.npz"
    request = replace(QUICK, inputs=str(inputs))

    with pytest.raises(ModelError, match=r"can't read \.npz of inputs"):
        measure(models[:1], device, request, store, made_at="now")
    for content in (b"1", b"1", b"2"):
        inputs.write_bytes(content)
        measure(models[:1], device, request, store, made_at="now")

    assert len(device.asked) == 2


def test_other_weights_in_a_file_beside_the_model_are_another_measurement(tmp_path: Path) -> None:
    store, device = Memory(), Recorded()
    model = write_external_onnx(tmp_path / "m.onnx")

    for weight in (1.0, 1.0, 2.0):
        np.full(4, weight, np.float32).tofile(tmp_path / "weights.bin")
        measure([model], device, QUICK, store, made_at="now")

    assert len(device.asked) == 2


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't read model"):
        measure([tmp_path / "none.onnx"], Recorded(), QUICK, Memory(), made_at="now")


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")

    for path in (tmp_path, tmp_path / "pipe.onnx", Path("/dev/zero")):
        with pytest.raises(ModelError, match="is a folder or a device, no file"):
            measure([path], Recorded(), QUICK, Memory(), made_at="now")


def test_this_machine_measures_and_is_remembered(models: list[Path]) -> None:
    store = Memory()

    first = measure(models, Host(), QUICK, store, made_at="then")

    assert all(measurement.value > 0 for measured in first for measurement in measured)
    assert len(store.kept) == 2
