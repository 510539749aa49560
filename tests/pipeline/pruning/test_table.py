"""A table of costs stands for multiply-accumulates: it is read between what was measured, and cuts walk its edges."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.errors import ModelError, StoreError
from pipeline.pruning.coupling import coupled_channels
from pipeline.pruning.pruner import Wish, cost_of, prune_to
from pipeline.pruning.table import FILE, CostTable, Curve, LayerTable, read_table
from pipeline.pruning.widths import Ladder, choose

STEP = Curve(widths=(8, 16, 24, 32), costs=(100.0, 100.0, 200.0, 200.0))
"""A kernel that works on sixteen channels at once."""
LINE = Curve(widths=(8, 16, 24, 32), costs=(50.0, 100.0, 150.0, 200.0))
EXAMPLE = (torch.zeros(1, 3, 8, 8),)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU()), nn.Flatten(), nn.Linear(32 * 36, 4)
    ).eval()


def table_of(first: Curve, second: Curve) -> CostTable:
    three, many = Curve(widths=(3,), costs=(200.0,)), Curve(widths=(4,), costs=(0.0,))
    layers = {
        "0": LayerTable(cost=200, out=first, into=three),
        "2": LayerTable(cost=200, out=second, into=first),
        "5": LayerTable(cost=0, out=many, into=Curve(widths=(1152,), costs=(0.0,))),
    }
    return CostTable(
        quantity="instructions",
        unit="instructions per inference",
        label="emulated",
        device="qemu",
        machine="a core",
        whole=500,
        scale=1,
        rest=100,
        per_channel={"0": 1.0},
        channels={"0": 32, "2": 32},
        narrowest=90,
        narrowest_error=0.0,
        layers=layers,
    )


@pytest.mark.parametrize(("width", "share"), [(32, 1.0), (28, 1.0), (20, 0.75), (16, 0.5), (8, 0.5), (4, 0.25)])
def test_a_curve_is_read_between_widths_and_in_proportion_below_them(width: float, share: float) -> None:
    assert STEP.share(width) == pytest.approx(share)


def test_an_axis_that_nothing_leaves_costs_the_same_at_any_width() -> None:
    assert Curve(widths=(64,), costs=(9.0,)).share(32) == 1


def test_a_layer_s_cost_is_the_product_of_both_axes() -> None:
    assert LayerTable(cost=200, out=LINE, into=LINE).at(16, 16) == pytest.approx(50)


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table_of(STEP, LINE).write(tmp_path)

    assert read_table(tmp_path) == table_of(STEP, LINE)


@pytest.mark.parametrize("content", ["", "{}", '{"whole": NaN}', "[" * 10_000])
def test_a_damaged_table_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content, encoding="utf-8")

    with pytest.raises(StoreError, match="is no table of costs"):
        read_table(tmp_path)


def test_the_whole_network_costs_what_was_measured_of_it() -> None:
    module = network()
    groups = coupled_channels(module, EXAMPLE)

    assert cost_of(module, EXAMPLE, groups, table_of(LINE, LINE)).of([0] * len(groups)) == 500


def test_a_cut_network_costs_the_same_whether_it_is_asked_before_or_after_the_cut() -> None:
    table, wish = table_of(LINE, LINE), Wish(table=table_of(LINE, LINE), limit=300)
    shorter, facts = prune_to(network(), EXAMPLE, wish)
    groups = coupled_channels(shorter, EXAMPLE)

    assert cost_of(shorter, EXAMPLE, groups, table).of([0] * len(groups)) == pytest.approx(facts["cost"])
    assert facts["cost"] <= 300
    assert facts["cost_before"] == 500


def test_channels_leave_up_to_an_edge_of_the_stairs_and_never_short_of_one() -> None:
    _, facts = prune_to(network(), EXAMPLE, Wish(table=table_of(STEP, STEP), limit=330))

    assert facts["channels"]
    assert all(now in (16, 32) for _, now in facts["channels"].values())


def test_a_promise_is_never_broken_by_a_nearer_choice() -> None:
    class Money:
        stairs = 1

        def of(self, removed: Sequence[int]) -> float:
            return 100.0 - removed[0]

    ladder = Ladder((100, 81, 60), (0.0, 1.0, 2.0))

    assert choose([ladder], Money(), wanted=80) == [1]
    assert choose([ladder], Money(), wanted=80, promised=True) == [2]


def test_a_cost_that_no_cut_reaches_is_one_line_with_the_least() -> None:
    with pytest.raises(ModelError, match=r"until asks for at most 50 instructions per inference .* allow is 138\.5"):
        prune_to(network(), EXAMPLE, Wish(table=table_of(LINE, LINE), limit=50))
