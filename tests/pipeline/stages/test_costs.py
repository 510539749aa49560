"""The stage costs: a table that says of the student's layers what they cost, and of networks that were never measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from devices import open_device
from pipeline.artifact import Artifact
from pipeline.errors import DeviceError, RecipeError
from pipeline.plan import plan
from pipeline.pour import pour
from pipeline.pruning.coupling import coupled_channels
from pipeline.pruning.pruner import Wish, cost_of, prune_to
from pipeline.pruning.table import read_table
from pipeline.recipe import recipe_from
from pipeline.stage import discover
from pipeline.stages import costs, prune
from pipeline.stages.costs import CostsConfig, shapes_of
from pipeline.stages.prune import PruneConfig
from pipeline.task import LoadedTask
from targets import load_target
from tests.pipeline.pruning.test_table import LINE, table_of
from tests.small_stages import context_of, make
from tests.small_task import Bars


class Net(nn.Module):
    """A convolution, a depthwise one, a pointwise one, a head: each kind of axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.depth = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depth(torch.relu(self.first(x))))
        logits: torch.Tensor = self.head(torch.relu(self.point(x)).mean((2, 3)))
        return logits


class DeepBars(Bars):
    def student(self) -> nn.Module:
        return Net()


def task() -> LoadedTask:
    return LoadedTask(raw=DeepBars(), root=Path(__file__).parent)


def config(target: str, **changed: Any) -> CostsConfig:
    return CostsConfig.model_validate_json(json.dumps({**pour(load_target(target))["costs"], **changed}))


ASKED = config("corstone-300", quantity="cycles")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Return the table of the small network, as Vela tells it."""
    settings = {name: getattr(ASKED, name) for name in CostsConfig.model_fields}
    return make(costs.STAGE, task(), tmp_path_factory.mktemp("costs"), **settings)


def test_layers_are_told_apart_by_what_may_leave_them() -> None:
    shapes = shapes_of(Net().eval(), task().example())

    assert {name: shape.kind for name, shape in shapes.items()} == {
        "first": "conv",
        "depth": "depthwise",
        "point": "conv",
        "head": "linear",
    }


@pytest.mark.timeout(300)
def test_what_vela_says_of_a_cut_network_was_foretold_by_its_layers(tmp_path: Path, measured: Artifact) -> None:
    table, network = read_table(measured.path), Net().eval()
    cut, _ = prune_to(network, task().example(), Wish(table=table, limit=0.7 * table.whole))
    groups = coupled_channels(cut, task().example())
    foretold = cost_of(cut, task().example(), groups, table).of([0] * len(groups))

    device = open_device("vela", ASKED.profile)
    [found] = costs.costs_of_networks([cut], device, ASKED, context_of(task(), tmp_path))

    assert foretold == pytest.approx(found.value, rel=0.15)
    assert foretold <= 0.7 * table.whole
    assert (measured.facts["quantity"], measured.facts["label"]) == ("cycles", "estimated")
    assert set(table.layers) == {"first", "depth", "point", "head"}
    assert table.layers["head"].out.widths == (4,)
    assert table.layers["point"].out.widths == (8, 16)


def test_pruning_goes_down_to_what_the_device_may_spend(tmp_path: Path, measured: Artifact) -> None:
    student = make(discover()["distill"], task(), tmp_path / "student", epochs=0)
    given = {"network": student, "costs": measured}

    pruned = make(
        prune.STAGE, task(), tmp_path / "pruned", given, epochs=0, until="cycles = 70%", importance="magnitude"
    )

    assert pruned.facts["cost"] <= 0.7 * measured.facts["whole"]
    assert pruned.facts["costs"] == {name: measured.facts[name] for name in ("quantity", "unit", "label", "device")}
    assert pruned.facts["macs"] < pruned.facts["macs_before"]


def test_a_quantity_that_the_device_doesn_t_tell_is_refused_with_those_that_it_does(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"until asks for instructions, which vela doesn't tell .* it tells latency, cycles"
    ):
        costs.run({}, config("corstone-300", quantity="instructions"), context_of(task(), tmp_path))


def recipe(**prune_settings: Any) -> Any:
    content = {"schema": 1, "name": "small", "task": "given", "targets": ["corstone-300"], "prune": prune_settings}
    return recipe_from({**content, "controls": False}, folder=Path(), where="test", stages=tuple(discover()))


def test_a_plan_measures_costs_where_pruning_asks_for_them_and_nowhere_else() -> None:
    poured = pour(load_target("corstone-300"))
    plain = plan(recipe(keep_macs=0.5), task(), discover(), poured=poured)
    costly = plan(recipe(until="cycles = 50%", floor_ratio=0.5), task(), discover(), poured=poured)

    assert not [step for step in plain.steps if step.stage.name == "costs"]
    step = costly.step("prune.costs")
    assert (step.config.quantity, step.config.floor_ratio, step.config.device) == ("cycles", 0.5, "vela")  # type: ignore[attr-defined]
    assert costly.step("prune").inputs["costs"] == "prune.costs"


@pytest.mark.parametrize("until", ["latency = 5", "latency_ms < 5", "latency_ms = fast", "latency_ms = -1", "cycles"])
def test_an_until_that_says_nothing_known_is_refused(until: str) -> None:
    with pytest.raises(RecipeError, match=r"until.*it takes one of latency_ms, instructions, cycles"):
        plan(recipe(until=until), task(), discover(), poured=pour(load_target("corstone-300")))


@pytest.mark.parametrize(
    ("until", "limit"),
    [("latency_ms = 0.4", 400), ("instructions = 9e5", 9e5), ("cycles=50%", 250), ("latency_ms = 12.5 %", 62.5)],
)
def test_a_limit_is_told_in_the_device_s_unit(until: str, limit: float) -> None:
    assert PruneConfig(until=until).limit(table_of(LINE, LINE)) == pytest.approx(limit)
