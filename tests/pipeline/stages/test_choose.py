"""student = "auto": what is chosen keeps the budget, the report says why, and a budget that nothing keeps is one line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from devices import Request
from pipeline import compress
from pipeline.architecture import macs_of
from pipeline.chosen import with_chosen
from pipeline.errors import TaskError, TrainingError
from pipeline.networks import families
from pipeline.networks.families import Sizes, build, ladders, sizes_of
from pipeline.networks.ladders import LADDERS, Rung, neighbours, read_rung
from pipeline.pour import pour
from pipeline.report.text import to_markdown
from pipeline.stages import choose
from pipeline.stages.choose import STAGE, ChooseConfig
from pipeline.task import SplitName, Splits
from pipeline.task_file import wrap_task
from targets import load_target
from tests.small_stages import make
from tests.small_task import Bars, bars
from tests.small_text import Sentences

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
SHORT: dict[str, Any] = {"probe_steps": 20, "batch_size": 16, "views": 1}


@pytest.fixture(autouse=True)
def short_ladders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rungs a family, and short measurements: each rung is a conversion of seconds."""
    small = {"dscnn": ((4, 1), (16, 2)), "mobilenet": ((1, 0),), "resnet": ((4, 1),), "transformer": ((16, 1),)}
    monkeypatch.setattr(families, "LADDERS", small)
    monkeypatch.setattr(choose, "SHORT", Request(processes=2, warmup_seconds=0, min_seconds=0.02, min_runs=10))


@pytest.mark.parametrize("family", LADDERS)
def test_each_rung_costs_more_than_the_one_before(family: str) -> None:
    sizes = Sizes(10, channels=1) if family != "transformer" else Sizes(10, length=16, vocabulary=50)
    texts = torch.ones(2, 16, dtype=torch.long)
    example = (torch.zeros(2, 1, 28, 28),) if family != "transformer" else (texts, texts)
    costs = [macs_of(build(Rung(family, *rung), sizes), example) for rung in LADDERS[family]]

    assert costs == sorted(set(costs))


def test_a_named_network_is_taken_as_it_is_and_needs_no_labels(tmp_path: Path) -> None:
    found = make(STAGE, wrap_task(Bars(labelled=False)), tmp_path, rung="dscnn-8-2").facts

    assert (found["family"], found["width"], found["depth"], found["looked"]) == ("dscnn", 8, 2, [])
    assert found["why"] == "dscnn of width 8 and depth 2, as the recipe names it"
    assert macs_of(with_chosen(bars(), found).student(), bars().example()) > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dscn-8-2", "is no student; write family-width-depth"),
        ("dscnn-8", "is no student"),
        ("dscnn-0-2", "width is 1 to 1024"),
        ("transformer-20-1", "a multiple of 16"),
        ("mobilenet-2-3", "depth is 0 for a mobilenet"),
        ("resnet-8-0", "at least 1 for any other"),
    ],
)
def test_a_name_that_is_no_network_is_one_line(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_rung(name)


def test_neighbours_on_the_ladder_are_narrower_and_wider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LADDERS, "dscnn", ((16, 2), (16, 4), (24, 4), (32, 4), (48, 4)))

    assert neighbours(read_rung("dscnn-32-4")) == ["dscnn-24-4", "dscnn-48-4", "dscnn-16-4"]
    assert neighbours(read_rung("dscnn-16-2")) == ["dscnn-16-4"]


def test_pictures_and_texts_are_told_apart_and_anything_else_is_refused() -> None:
    texts = torch.ones(2, 16, dtype=torch.long)

    assert sizes_of((torch.zeros(2, 3, 9, 9),), 4, 0) == Sizes(4, channels=3)
    assert sizes_of((texts, texts), 4, 50) == Sizes(4, length=16, vocabulary=50)
    assert {rung.family for ladder in ladders(Sizes(4, length=16, vocabulary=50)) for rung in ladder} == {"transformer"}
    with pytest.raises(TaskError, match=r"knows pictures \[N, C, H, W\] and texts .*; the task gives \(2, 9\)"):
        sizes_of((torch.zeros(2, 9),), 4, 0)


def test_what_is_chosen_keeps_the_budget_and_was_the_best_of_those_that_do(tmp_path: Path) -> None:
    found = make(STAGE, bars(), tmp_path, {}, size_kib=6.5, **SHORT).facts
    chosen = next(
        each for each in found["looked"] if (each["family"], each["width"]) == (found["family"], found["width"])
    )
    tried = [each for each in found["looked"] if each["score"] is not None]

    assert chosen["size_kib"] <= 6.5
    assert not chosen["breaks"]
    assert tried
    assert all(not each["breaks"] for each in tried)
    assert any(each["breaks"].startswith("size_kib = 6.5") for each in found["looked"])
    assert found["why"].startswith(f"{found['family']} of width {found['width']}")


def test_a_budget_that_nothing_keeps_names_the_wall(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"smallest networks keeps the budget; the nearest, .*, breaks size_kib = 1: "
    ) as told:
        make(STAGE, bars(), tmp_path, {}, size_kib=1, **SHORT)
    assert "\n" not in str(told.value)


def test_a_text_s_student_knows_every_id_of_the_data(tmp_path: Path) -> None:
    task = wrap_task(Sentences())
    found = make(STAGE, task, tmp_path, {}, **SHORT).facts
    student = with_chosen(task, found).student()

    assert found["family"] == "transformer"
    assert found["sizes"]["vocabulary"] == 20  # ids 1 to 19
    assert student(*task.example()).shape == (2, 2)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_an_id_that_comes_in_one_split_alone_has_its_row(tmp_path: Path, split: SplitName) -> None:
    class Rare(Sentences):
        def data(self) -> Splits:
            whole = super().data()
            (ids, mask), label = whole[split][0]
            ids = ids.copy()
            ids[0] = 30
            return replace(whole, **{str(split): [((ids, mask), label)]})

    found = make(STAGE, wrap_task(Rare()), tmp_path, {}, rung="transformer-16-1").facts

    assert found["sizes"]["vocabulary"] == 31


def test_without_labels_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"compares students on labels; task 'bars' has none"):
        make(STAGE, bars(labelled=False), tmp_path, {}, **SHORT)


def test_the_chosen_student_has_a_fingerprint_of_its_own() -> None:
    task = bars()
    one, other = (
        with_chosen(task, {"family": "dscnn", "width": width, "depth": 1, "sizes": {"outputs": 4, "channels": 1}})
        for width in (4, 8)
    )

    assert len({each.fingerprint("student") for each in (task, one, other)}) == 3
    assert one.fingerprint("data.train") == task.fingerprint("data.train")
    assert np.array_equal(one.targets("test"), task.targets("test"))  # type: ignore[arg-type]  # labelled


def test_what_is_poured_in_is_what_the_stage_takes() -> None:
    config = ChooseConfig.model_validate_json(json.dumps(pour(load_target("corstone-300"))["choose"]))

    assert (config.device, config.profile) == ("vela", load_target("corstone-300"))


def test_a_recipe_that_leaves_the_student_open_runs_to_both_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path / "store"))
    settings = {
        "student": "auto",
        "stages": ["teach", "distill", "quantize", "export"],
        "teach": {"epochs": 4, "batch_size": 16},
        "audit": {"on_weak": "skip"},
        "controls": False,
        "measure": False,
        "budget": {"size_kib": 40.0},
        "distill": {"epochs": 4, "batch_size": 16},
        "quantize": {"epochs": 1, "batch_size": 16},
    }

    report = compress(Bars(), ["corstone-300"], tmp_path / "out", settings)["corstone-300"]

    assert report.fidelity is not None
    assert report.fidelity.passed
    assert report.choice is not None
    assert {verdict.outcome for verdict in report.verdicts} == {"kept"}
    assert "## the student, chosen" in to_markdown(report)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_latency_and_size_are_kept_on_a_board_and_on_an_accelerator(tmp_path: Path) -> None:
    command = [EDGEPRESS, "run", "digits-auto", "--out", str(tmp_path), "--set", "controls=false"]
    places = ["--device", "raspberry-pi-4=qemu", "--device", "corstone-300=vela"]
    subprocess.run([*command, *places], check=False, env={**os.environ, "EDGEPRESS_STORE": str(tmp_path / "store")})

    for target in ("raspberry-pi-4", "corstone-300"):
        report = json.loads((tmp_path / target / "report.json").read_text(encoding="utf-8"))
        outcomes = {verdict["budget"]: verdict["outcome"] for verdict in report["verdicts"]}
        assert report["fidelity"]["passed"]
        assert outcomes["size_kib, int8 tflite"] == outcomes["size_kib, int8 onnx"] == "kept"
        assert outcomes["latency_ms, int8 tflite"] != "missed"
        assert report["choice"]["why"].startswith(report["choice"]["family"])
