"""The choice of widths: as near to the wanted MACs as the ladders allow, for the least importance."""

from math import log

import pytest
import torch

from pipeline.pruning.coupling import Coupled, Member
from pipeline.pruning.widths import Costs, Ladder, LayerCost, choose, ladder_of, removed_channels


def group(channels: int, *, unit: int = 1, head_channels: int = 0, layers: int = 1) -> Coupled:
    units = tuple(tuple(range(first, first + unit)) for first in range(0, channels, unit))
    members = tuple(Member(f"layer{number}", "out", ()) for number in range(layers))
    return Coupled(name="layer", channels=channels, units=units, members=members, head_channels=head_channels)


@pytest.mark.parametrize(
    ("channels", "multiple", "floor", "expected"),
    [
        (32, 8, 0, (32, 24, 16, 8)),
        (32, 8, 17, (32, 24)),
        (21, 8, 0, (21, 16, 8)),
        (6, 8, 0, (6,)),
        (4, 1, 2, (4, 3, 2)),
    ],
)
def test_ladder_holds_multiples_down_to_the_floor(
    channels: int, multiple: int, floor: float, expected: tuple[int, ...]
) -> None:
    ladder = ladder_of(group(channels), torch.rand(channels), channel_multiple=multiple, floor_channels=floor)

    assert ladder.channels == expected


def test_ladder_of_heads_knows_no_multiple() -> None:
    heads = group(40, unit=10, head_channels=10)

    assert ladder_of(heads, torch.rand(4), channel_multiple=8, floor_channels=0).channels == (40, 30, 20, 10)


def test_the_least_important_units_leave_first() -> None:
    ladder = ladder_of(group(4), torch.tensor([3.0, 1.0, 4.0, 2.0]), channel_multiple=1, floor_channels=0)

    assert ladder.lost == pytest.approx([-log(share) for share in (10 / 10, 9 / 10, 7 / 10, 4 / 10)])


def test_layers_of_equal_macs_and_importance_are_thinned_alike() -> None:
    ladder = ladder_of(group(64), torch.ones(64), channel_multiple=4, floor_channels=8)
    layers = tuple(LayerCost(4096, ((group, 1 / 64),), (((group + 1) % 4, 1 / 64),)) for group in range(4))

    rungs = choose([ladder] * 4, Costs(layers=layers, per_channel={}, rest=0), wanted=4096)

    assert [ladder.channels[rung] for rung in rungs] == [32, 32, 32, 32]


def test_choice_lands_near_any_wish_between_the_ladders_ends() -> None:
    widths = tuple(range(64, 0, -8))
    ladders = [Ladder(widths, tuple(float(rung**2) for rung in range(8))) for _ in range(4)]
    layers = tuple(LayerCost(4096, ((group + 1, 1 / 64),), ((group, 1 / 64),)) for group in range(3))
    costs = Costs(layers=layers, per_channel={}, rest=0)

    for wanted in range(1000, 12_288, 250):
        rungs = choose(ladders, costs, wanted=wanted)

        assert costs.of(removed_channels(ladders, rungs)) == pytest.approx(wanted, abs=0.02 * 12_288)


def test_of_equally_near_choices_the_one_that_loses_less_is_taken() -> None:
    ladders = [Ladder((2, 1), (0.0, 5.0)), Ladder((2, 1), (0.0, 1.0))]
    costs = Costs(layers=(LayerCost(100, ((0, 1 / 2),), ()), LayerCost(100, ((1, 1 / 2),), ())), per_channel={}, rest=0)

    assert choose(ladders, costs, wanted=150) == [0, 1]


def test_a_residual_stream_is_thinned_like_the_layers_beside_it() -> None:
    stream, inner = (
        ladder_of(group(64, layers=layers), torch.ones(64), channel_multiple=4, floor_channels=8) for layers in (6, 2)
    )
    layers = tuple(LayerCost(4096, ((0, 1 / 64),), ((number, 1 / 64),)) for number in (1, 2, 3) for _ in range(2))

    rungs = choose([stream, *[inner] * 3], Costs(layers=layers, per_channel={}, rest=0), wanted=6144)

    assert [inner.channels[rung] for rung in rungs] == pytest.approx([32, 32, 32, 32], abs=4)
