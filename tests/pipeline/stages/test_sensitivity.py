"""The sweep finds the layer that int8 ruins, leaves that one in float, and nothing else; the gate takes the mixed file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from devices import Request
from pipeline import compress
from pipeline.artifact import Artifact
from pipeline.report.text import to_markdown
from pipeline.stages import distill, sensitivity
from pipeline.stages.sensitivity import STAGE
from pipeline.task import LoadedTask
from pipeline.teacher import Teacher
from tests.small_stages import make
from tests.small_task import Bars

DEAD, HUGE = 0, 1e4


class Ruined(nn.Module):
    """Three layers; the middle one has a huge weight for a channel that is always silent: harmless in float, ruinous for a scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(64, 4)
        self.ruin()

    def ruin(self) -> None:
        with torch.no_grad():
            self.first.weight[DEAD], self.middle.weight[:, DEAD] = 0, HUGE
            assert self.first.bias is not None
            self.first.bias[DEAD] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.middle(torch.relu(self.first(x))))
        logits: Tensor = self.head(x.mean(3).flatten(1))
        return logits


class RuinedBars(Bars):
    """The task with that student, trained a little beforehand."""

    def student(self) -> nn.Module:
        network = Ruined()
        data = self._split(0, 90)
        x, y = torch.stack([torch.from_numpy(a) for a, _ in data]), torch.tensor([b for _, b in data])
        optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
        with torch.enable_grad():
            for _ in range(60):
                optimiser.zero_grad()
                loss: Tensor = nn.functional.cross_entropy(network(x), y)
                torch.autograd.backward(loss)
                optimiser.step()
                network.ruin()
        return network

    def teachers(self) -> dict[str, Teacher]:
        return {}


def task() -> LoadedTask:
    return LoadedTask(raw=RuinedBars(), root=Path(__file__).parent)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make(distill.STAGE, task(), tmp_path_factory.mktemp("given"), epochs=0)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "SHORT", Request(processes=2, warmup_seconds=0, min_seconds=0.02, min_runs=10))


def test_one_exception_brings_the_score_back_and_its_cost_is_told(tmp_path: Path, given: Artifact) -> None:
    facts = make(STAGE, task(), tmp_path, {"network": given}, max_drop=0.02).facts

    assert facts["float_layers"] == ["middle"]
    assert facts["int8"]["score"] < facts["float_score"] - 0.2
    assert facts["chosen"]["score"] >= facts["float_score"] - 0.02
    assert facts["layers"][0]["float_layers"] == ["middle"]
    assert {each["float_layers"][0] for each in facts["layers"]} == {"first", "middle", "head"}
    assert facts["costs"]["int8"] > 0
    assert facts["costs"]["mixed"] > 0
    assert "with middle in float" in facts["why"]


def test_a_network_that_loses_nothing_needs_no_sweep(tmp_path: Path, given: Artifact) -> None:
    facts = make(STAGE, task(), tmp_path, {"network": given}, max_drop=1.0).facts

    assert facts["float_layers"] == []
    assert facts["layers"] == []
    assert facts["costs"] == {}


def test_a_bar_that_nothing_reaches_ends_with_the_best_and_says_so(tmp_path: Path, given: Artifact) -> None:
    facts = make(
        STAGE, task(), tmp_path, {"network": given}, max_drop=0.0, most=1, rules={"float_layers": ("middle",)}
    ).facts

    assert "middle" not in facts["float_layers"]


@pytest.mark.timeout(300)
def test_a_mixed_network_goes_through_the_gate_to_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path / "store"))
    settings: dict[str, Any] = {
        "stages": ["quantize", "export"],
        "measure": False,
        "quantize": {"epochs": 0, "exceptions": "auto", "exceptions_max_drop": 0.02},
    }

    report = compress(RuinedBars(), ["raspberry-pi-4"], tmp_path / "out", settings)["raspberry-pi-4"]

    assert report.fidelity is not None
    assert report.fidelity.passed, report.fidelity.why_failed
    assert report.sensitivity is not None
    assert report.sensitivity["float_layers"] == ["middle"]
    assert report.drop["int8 tflite"].value <= 0.05
    assert "| middle |" in to_markdown(report)
    assert "stays in float" in to_markdown(report)
