"""Mutated model files are judged or refused in one line; none crashes the judge, hangs it or fills its memory."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from devices.sandbox import Limits, explain, run_python
from pipeline.checks.examine import ROOT
from pipeline.checks.judgement import judge_file
from pipeline.errors import ModelError
from tests.pipeline.checks import fuzz_worker
from tests.pipeline.checks.corpus import external, onnx_with, packed, tflite_with, transposed_pair, unpacked
from tests.pipeline.checks.tflite_defects import float_edges
from tests.small_files import write_float_onnx, write_float_tflite, write_onnx, write_tflite

LIMITS = Limits(wall_seconds=500, cpu_seconds=500, memory_mib=2048, output_kib=4096)
SLOWEST_SECONDS = 3.0  # a small file takes milliseconds; the limit leaves room for a busy machine
PEAK_MIB = 400
OUTCOMES = {
    "refused",
    *(f"{form} judged, {how} findings" for form in ("onnx", "tflite") for how in ("with", "without")),
}
WRITERS: tuple[Callable[[Path], Path], ...] = (write_onnx, write_tflite, write_float_onnx, write_float_tflite)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    folder = tmp_path / "sound"
    folder.mkdir()
    for number, write in enumerate(WRITERS):
        write(folder / str(number))
    for number, build in enumerate((onnx_with(transposed_pair), tflite_with(float_edges), external("w.bin", make=288))):
        made = tmp_path / f"made{number}"
        made.mkdir()
        build(made).rename(folder / f"{number + 4}")
    return folder


def judged(sound: Path, *, seed: int, count: int) -> dict[str, object]:
    """Judge mutated files in one bounded process."""
    finished = run_python(
        Path(fuzz_worker.__file__), [str(ROOT), str(sound), str(seed), str(count)], limits=LIMITS, cwd=ROOT
    )
    assert finished.ok, f"{explain(finished)}; {finished.stderr[-2000:]}"
    report: dict[str, object] = json.loads(finished.stdout.splitlines()[-1])
    return report


def holds(report: dict[str, object], count: int) -> bool:
    outcomes, slowest, peak = report["outcomes"], report["slowest_seconds"], report["peak_mib"]
    assert isinstance(outcomes, dict)
    assert isinstance(slowest, float)
    assert isinstance(peak, int)
    assert set(outcomes) <= OUTCOMES
    both = outcomes["refused"] > 0 and sum(times for name, times in outcomes.items() if "judged" in name) > 0
    return both and sum(outcomes.values()) == count and slowest < SLOWEST_SECONDS and peak < PEAK_MIB


def through_the_process(sound: Path, folder: Path, *, seed: int, count: int) -> set[str]:
    """Judge mutated files as `check` does, each in a process that also opens it in its runtime."""
    files = sorted(sound.iterdir())
    outcomes: set[str] = set()
    for number in range(count):
        random = np.random.default_rng((seed, number))
        path = folder / f"mutated{number}"
        path.write_bytes(fuzz_worker.mutated(files[number % len(files)].read_bytes(), random))
        try:
            outcomes.add(f"judged {judge_file(path).format}")
        except ModelError as error:
            outcomes.add("refused" if "\n" not in str(error) else "refused in more than a line")
        path.unlink()
    return outcomes


def test_four_hundred_mutated_files_are_judged_or_refused(sound: Path) -> None:
    assert holds(judged(sound, seed=1, count=400), 400)


def test_mutated_files_go_through_the_whole_way(sound: Path, tmp_path: Path) -> None:
    assert "refused" in (found := through_the_process(sound, tmp_path, seed=2, count=10))
    assert found <= {"refused", "judged onnx", "judged tflite"}


def without_names(onnx_model: onnx.ModelProto) -> Iterator[bytes]:
    """Yield a model once for each input and output of a node that can be blanked, left out, or doubled."""
    for node in onnx_model.graph.node:
        for names in (node.input, node.output):
            kept = list(names)
            for changed in ([], *_changed(kept)):
                names[:] = changed
                yield onnx_model.SerializeToString()
            names[:] = kept


def without_tensors(model: Any) -> Iterator[bytes]:
    """Yield a TFLite model as `without_names` does; -1 is the tensor that isn't there."""
    for operator in model.subgraphs[0].operators:
        for field in ("inputs", "outputs"):
            kept = list(getattr(operator, field))
            for changed in ([], *_changed(kept)):
                setattr(operator, field, [-1 if index == "" else index for index in changed])
                yield packed(model)
            setattr(operator, field, kept)


def _changed(kept: list[Any]) -> Iterator[list[Any]]:
    for place in range(len(kept)):
        yield [*kept[:place], "", *kept[place + 1 :]]
        yield [*kept[:place], *kept[place + 1 :]]
        yield [*kept[: place + 1], *kept[place:]]


def test_operators_that_lack_what_their_kind_has_are_judged_or_refused(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    outcomes = set()
    for content in [file.read_bytes() for file in sorted(sound.iterdir())]:
        tflite = content[4:8] == b"TFL3"
        models = without_tensors(unpacked(content)) if tflite else without_names(onnx.load_model_from_string(content))
        for changed in models:
            path.write_bytes(changed)
            outcomes.add(fuzz_worker.outcome(path))

    assert outcomes <= OUTCOMES
    assert {"onnx judged, with findings", "tflite judged, with findings"} <= outcomes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 15))
def test_five_thousand_mutated_files_are_judged_or_refused(sound: Path, seed: int) -> None:
    assert holds(judged(sound, seed=seed, count=1000), 1000)


@pytest.mark.slow
def test_four_hundred_mutated_files_go_through_the_whole_way(sound: Path, tmp_path: Path) -> None:
    found = through_the_process(sound, tmp_path, seed=3, count=400)

    assert found == {"refused", "judged onnx", "judged tflite"}
