"""From files to a report: every source of evidence ends in one verdict."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import DeviceError, ModelError, RecipeError, TargetError
from pipeline.gate.baseline import read_baseline
from pipeline.gate.check import Clock, check
from pipeline.gate.settings import Job, Order
from pipeline.gate.verdict import Report
from tests.pipeline.checks.corpus import external
from tests.small_files import samples, write_float_onnx, write_tflite
from tests.small_gate import measurement

CLOCK = Clock(date(2026, 11, 25), "2026-11-25T12:00:00+00:00")


@dataclass
class Notebook:
    """A store of observations, in memory."""

    kept: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def observe(self, key: str, observation: Mapping[str, Any]) -> None:
        self.kept.setdefault(key, []).append(dict(observation))

    def observations(self, key: str) -> list[dict[str, Any]]:
        return self.kept.get(key, [])


def judged(order: Order, store: Callable[[], Notebook] = Notebook) -> Report:
    return check(order, store, CLOCK)


def job(model: Path, **changes: Any) -> Job:
    return replace(Job((model,)), **changes)


def codes(report: Report) -> list[str]:
    return [finding.code for _, finding in report.standing()]


def recorded(path: Path, model: Path, **changes: Any) -> str:
    """Return the spec of a recording of a board that ran this file."""
    digest = sha256(model.read_bytes()).hexdigest()
    told = measurement(model_sha256=digest, together=(digest,), made_at=CLOCK.now, **changes)
    file = path / "recording.jsonl"
    file.write_text(json.dumps(told.to_json()) + "\n", encoding="utf-8")
    return f"replay:{file}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tflite(tmp_path / "model.tflite")


def test_a_sound_file_passes_and_is_named_as_given(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent.parent)
    report = judged(Order((job(model, budget={"size_kib": 2.0}),)))
    [found] = report.checks

    assert report.passed
    assert (found.model, found.format, found.target) == (f"{model.parent.name}/model.tflite", "tflite", None)
    assert found.sha256 == sha256(model.read_bytes()).hexdigest()
    assert [(line.budget, line.outcome) for line in found.budget] == [("size_kib", "kept")]


def test_weights_in_another_file_count_in_the_budget_and_in_the_baseline(tmp_path: Path) -> None:
    model, baseline = external("weights.bin", make=288)(tmp_path), tmp_path / "baseline.json"
    order = Order((job(model, budget={"size_kib": 0.5}),), baseline, update_baseline=True)

    [found] = judged(order).checks
    assert model.stat().st_size < 0.5 * 1024
    assert [(line.budget, line.outcome) for line in found.budget] == [("size_kib", "missed")]
    assert read_baseline(baseline).models["model.onnx"].size_bytes == model.stat().st_size + 288


def test_the_file_s_own_figures_judge_a_budget(model: Path) -> None:
    limits = {"size_kib": 1.0, "macs": 1e6, "peak_memory_kib": 0.01}
    [found] = judged(Order((job(model, budget=limits),))).checks

    assert {line.budget: line.outcome for line in found.budget} == {
        "macs": "kept",
        "peak_memory_kib": "missed",
        "size_kib": "missed",
    }


def test_every_model_is_judged_for_every_target(model: Path) -> None:
    order = Order((job(model, targets=("raspberry-pi-4", "pixel-8")),))

    assert [found.target for found in judged(order).checks] == ["raspberry-pi-4", "pixel-8"]


def test_a_device_s_figures_judge_the_budget_and_are_kept_for_the_next_run(model: Path, tmp_path: Path) -> None:
    notebook = Notebook()
    order = Order(
        (job(model, places={"": recorded(tmp_path, model)}, targets=("pixel-8",), budget={"latency_ms": 2.1}),)
    )
    first, second = judged(order, lambda: notebook), judged(order, lambda: notebook)

    assert [found.budget[0].outcome for report in (first, second) for found in report.checks] == ["kept", "kept"]
    assert [len(entries) for entries in notebook.kept.values()] == [1]


def test_one_board_never_judges_two_targets(model: Path, tmp_path: Path) -> None:
    spec = recorded(tmp_path, model)
    both = job(model, targets=("pixel-8", "raspberry-pi-4"), budget={"latency_ms": 2.1})
    report = judged(Order((replace(both, places={"pixel-8": spec}),)))

    assert [found.budget[0].outcome for found in report.checks] == ["kept", "not_shown"]
    with pytest.raises(RecipeError, match="is one device, and there are 2 targets"):
        judged(Order((replace(both, places={"": spec}),)))


def test_without_a_device_no_store_is_opened(model: Path) -> None:
    def opened() -> Notebook:
        raise AssertionError("a check that measures nothing writes nothing")

    assert judged(Order((job(model),)), opened).passed


def test_a_device_that_refuses_the_file_is_a_finding(tmp_path: Path) -> None:
    onnx = write_float_onnx(tmp_path / "m.onnx")
    report = judged(Order((job(onnx, places={"": "tflm"}),)))

    assert "device-refuses" in codes(report)
    assert not report.passed


def test_a_device_that_is_not_there_is_an_error(model: Path) -> None:
    with pytest.raises(DeviceError, match="did you mean 'host'"):
        judged(Order((job(model, places={"": "hosst"}),)))


def test_a_reference_is_compared_and_judged(model: Path, tmp_path: Path) -> None:
    reference = write_float_onnx(tmp_path / "reference.onnx")
    np.savez(tmp_path / "s.npz", x=samples(16))
    order = Order((job(model, reference=reference, samples=tmp_path / "s.npz", budget={"max_lsb": 1000.0}),))
    [found] = judged(order).checks

    assert found.agreement is not None
    assert (found.agreement.samples, found.agreement.outputs[0].argmax_agreement) == (16, 1.0)
    assert [(line.budget, line.outcome) for line in found.budget] == [("max_lsb", "kept")]


def test_a_reference_without_samples_is_an_error(model: Path) -> None:
    with pytest.raises(RecipeError, match="--reference and --samples belong together"):
        judged(Order((job(model, reference=model),)))


def test_the_baseline_s_whole_life(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    made = judged(Order((job(model),), baseline=path, update_baseline=True))
    same = judged(Order((job(model),), baseline=path))
    write_tflite(model, transposed=True)
    worse = judged(Order((job(model),), baseline=path))
    accepted = judged(Order((job(model),), baseline=path, update_baseline=True))
    after = judged(Order((job(model),), baseline=path))

    assert (made.baseline_written, made.passed, list(read_baseline(path).models)) == (True, True, ["model.tflite"])
    assert (same.passed, same.checks[0].changes) == (True, ())
    assert not worse.passed
    assert {"baseline-size", "baseline-operators"} <= set(codes(worse))
    assert accepted.baseline_written
    assert [change.what for change in accepted.checks[0].changes] == [change.what for change in worse.checks[0].changes]
    assert [code for code in codes(accepted) if code.startswith("baseline")] == []
    assert after.checks[0].changes == ()


def test_a_model_that_the_baseline_does_not_know_is_a_warning(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    judged(Order((job(model),), baseline=path, update_baseline=True))
    other = write_tflite(tmp_path / "other.tflite")
    report = judged(Order((job(other),), baseline=path))

    assert "baseline-missing" in codes(report)
    assert report.passed


def test_an_update_needs_to_know_where(model: Path) -> None:
    with pytest.raises(RecipeError, match="name it with --baseline"):
        judged(Order((job(model),), update_baseline=True))


def test_an_interrupted_update_leaves_the_old_baseline(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    judged(Order((job(model),), baseline=path, update_baseline=True))
    before = path.read_bytes()

    with pytest.raises(ModelError):
        judged(
            Order((replace(job(model), models=(model, tmp_path / "gone.tflite")),), baseline=path, update_baseline=True)
        )
    assert path.read_bytes() == before


def test_a_waiver_lets_a_missed_line_pass(model: Path, tmp_path: Path) -> None:
    waivers = tmp_path / "waivers.toml"
    waivers.write_text('[[waive]]\ncode = "budget-missed"\nwhere = "size_kib"\nreason = "until the release"\n')
    report = judged(Order((job(model, budget={"size_kib": 1.0}),), waivers=waivers))

    assert report.passed
    assert [each.finding.where for each in report.checks[0].waived] == ["size_kib"]


def test_strict_fails_on_what_is_not_shown(model: Path) -> None:
    order = Order((job(model, budget={"latency_ms": 1.0}),))

    assert judged(order).passed
    assert not judged(replace(order, strict=True)).passed


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.tflite", None, ModelError),
        ("empty.tflite", b"", ModelError),
        ("text.onnx", b"this is no model\n" * 100, ModelError),
        ("cut.tflite", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 64, ModelError),
    ],
)
def test_what_is_no_model_ends_the_run_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(error) as raised:
        judged(Order((job(path),)))

    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_an_unknown_target_is_told(model: Path) -> None:
    with pytest.raises(TargetError, match="did you mean 'pixel-8'"):
        judged(Order((job(model, targets=("pixel8",)),)))
