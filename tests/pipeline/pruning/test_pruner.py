"""Pruning by network shape: each of them loses channels and answers exactly what it answers with those silenced."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.architecture import macs_of, parameters_of, rebuild, save_network
from pipeline.errors import ModelError
from pipeline.networks.dscnn import dscnn
from pipeline.networks.mobilenet import mobilenet
from pipeline.networks.resnet import resnet8, resnet20
from pipeline.pruning.check import problem_of
from pipeline.pruning.coupling import Coupled, coupled_channels
from pipeline.pruning.cut import cut_units, removal_of, silenced
from pipeline.pruning.pruner import Wish, prune_to

torch.manual_seed(0)
PICTURES = torch.randn(2, 1, 20, 20)
WORDS = torch.randint(0, 11, (2, 6))


class Grouped(nn.Module):
    """A grouped convolution between plain ones, a GroupNorm and a PReLU behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3)
        self.grouped = nn.Conv2d(32, 64, 3, groups=4)
        self.slope = nn.PReLU(64)
        self.last = nn.Conv2d(64, 16, 3, bias=False)
        self.one_slope = nn.PReLU()
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(
            self.one_slope(self.last(self.slope(self.grouped(torch.relu(self.first(x)))))).mean((2, 3))
        )
        return out


class Concatenated(nn.Module):
    """Two branches side by side, one BatchNorm over both, flattened into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(1, 16, 3, 2)
        self.right = nn.Conv2d(1, 24, 3, 2)
        self.norm = nn.BatchNorm2d(40)
        self.joined = nn.Conv2d(40, 16, 3, 2)
        self.head = nn.Linear(16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.relu(self.norm(torch.cat([self.left(x), self.right(x)], 1)))
        out: Tensor = self.head(self.joined(both).flatten(1))
        return out


class SqueezeAndExcitation(nn.Module):
    """A gate by the channels' means, and a transposed convolution on the way out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 32, 3, padding=1)
        self.squeeze = nn.Conv2d(32, 16, 1)
        self.excite = nn.Conv2d(16, 32, 1)
        self.up = nn.ConvTranspose2d(32, 24, 2, 2)
        self.head = nn.Conv2d(24, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        body = torch.relu(self.body(x))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(body.mean((2, 3), keepdim=True)))))
        out: Tensor = self.head(torch.relu(self.up(body * gate)))
        return out


class Attention(nn.Module):
    """Attention by plain linear layers; `heads` is an attribute that forward() reads."""

    def __init__(self, *, fused: bool, heads: int = 4) -> None:
        super().__init__()
        self.fused, self.heads, self.head_dim = fused, heads, 8
        self.query, self.key, self.value, self.out = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (
            part(x).view(n, t, self.heads, self.head_dim).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        if self.fused:
            mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(-2, -1) / self.head_dim**0.5, -1) @ v
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(n, t, self.heads * self.head_dim))
        return out


class Transformer(nn.Module):
    """Words, positions, one block, a linear layer."""

    def __init__(self, *, fused: bool = False, norms: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 32)
        self.positions = nn.Parameter(torch.randn(1, 6, 32))
        self.norm1, self.norm2 = (nn.LayerNorm(32) if norms else nn.Identity() for _ in range(2))
        self.attention = Attention(fused=fused)
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.positions
        x = x + self.attention(self.norm1(x))
        x = x + self.narrow(torch.relu(self.wide(self.norm2(x))))
        out: Tensor = self.head(x.mean(1))
        return out


SHAPES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "plain and depthwise": (dscnn, PICTURES),
    "residual": (resnet8, PICTURES),
    "inverted residual": (mobilenet, PICTURES),
    "grouped": (Grouped, PICTURES),
    "concatenated and flattened": (Concatenated, PICTURES),
    "squeeze and excitation, transposed": (SqueezeAndExcitation, PICTURES),
    "attention without norms": (lambda: Transformer(norms=False), WORDS),
    "fused attention without norms": (lambda: Transformer(norms=False, fused=True), WORDS),
}


def warmed(build: Callable[[], nn.Module], inputs: Tensor) -> nn.Module:
    """Build a network whose norms have statistics and weights of their own."""
    torch.manual_seed(1)
    network = build()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    for _ in range(3):
        network(inputs)
    return network.eval()


def prunable(network: nn.Module, inputs: Tensor) -> list[Coupled]:
    return [group for group in coupled_channels(network, (inputs,)) if group.units]


@pytest.mark.parametrize("shape", SHAPES)
def test_cut_network_answers_what_the_whole_one_answers_with_those_channels_silenced(shape: str) -> None:
    build, inputs = SHAPES[shape]
    network = warmed(build, inputs)
    groups = prunable(network, inputs)
    removed = [list(range(1, len(group.units), 2)) for group in groups]  # every other unit of every group

    shorter = cut_units(network, groups, removed)

    assert len(groups) >= 3
    assert macs_of(shorter, (inputs,)) < 0.6 * macs_of(network, (inputs,))
    quiet = silenced(network, removal_of(groups, removed))
    torch.testing.assert_close(shorter(inputs), quiet(inputs), rtol=1e-4, atol=1e-5)
    assert (quiet(inputs) - network(inputs)).abs().max() > 1e-3  # silence is heard


@pytest.mark.parametrize("shape", SHAPES)
def test_pruned_network_is_saved_and_rebuilt_bit_for_bit(shape: str, tmp_path: object) -> None:
    from pathlib import Path

    build, inputs = SHAPES[shape]
    network = warmed(build, inputs)
    shorter, _ = prune_to(network, (inputs,), Wish(keep_macs=0.6))
    folder = Path(str(tmp_path))

    save_network(shorter, folder, constructor="student", fresh=build())

    assert torch.equal(shorter(inputs), rebuild(build(), folder).eval()(inputs))


@pytest.mark.parametrize("keep", [0.75, 0.5, 0.3])
@pytest.mark.parametrize("build", [dscnn, mobilenet, resnet20])
def test_pruning_lands_within_three_hundredths_of_the_wanted_macs(build: Callable[[], nn.Module], keep: float) -> None:
    network = build()

    shorter, facts = prune_to(network, (PICTURES,), Wish(keep_macs=keep))

    assert macs_of(shorter, (PICTURES,)) == facts["macs"]
    assert facts["macs"] / macs_of(network, (PICTURES,)) == pytest.approx(keep, abs=0.03)
    assert parameters_of(shorter) == facts["parameters"]


@pytest.mark.parametrize("multiple", [1, 4, 8, 16])
def test_widths_are_whole_numbers_of_the_multiple(multiple: int) -> None:
    _, facts = prune_to(dscnn(), (PICTURES,), Wish(keep_macs=0.5, channel_multiple=multiple))

    assert facts["channels"]
    assert [now % multiple for _, now in facts["channels"].values()] == [0] * len(facts["channels"])


def test_width_that_is_no_multiple_goes_down_to_the_next_one() -> None:
    network = nn.Sequential(nn.Conv2d(1, 21, 3), nn.ReLU(), nn.Conv2d(21, 4, 3))

    _, facts = prune_to(network, (PICTURES,), Wish(keep_macs=0.75))

    assert facts["channels"] == {"0": [21, 16]}


def test_no_group_falls_below_its_floor() -> None:
    _, facts = prune_to(dscnn(), (PICTURES,), Wish(keep_macs=0.5, floor_ratio=0.6, channel_multiple=4))

    assert min(now / was for was, now in facts["channels"].values()) >= 0.6


def test_floor_and_share_refer_to_the_whole_network_when_it_was_pruned_before() -> None:
    network = dscnn()
    wish = Wish(keep_macs=0.5, floor_ratio=0.5, channel_multiple=4)
    half, _ = prune_to(network, (PICTURES,), Wish(keep_macs=0.75, floor_ratio=0.5, channel_multiple=4))

    shorter, facts = prune_to(half, (PICTURES,), wish, whole=network)

    assert facts["macs"] / macs_of(network, (PICTURES,)) == pytest.approx(0.5, abs=0.03)
    widths = [part.out_channels for part in shorter.modules() if isinstance(part, nn.Conv2d)]
    assert min(widths) >= 32


def test_output_layer_keeps_its_channels() -> None:
    shorter, facts = prune_to(resnet8(), (PICTURES,), Wish(keep_macs=0.4))

    assert facts["left_alone"]["classifier"] == "it reaches the network's output"
    assert shorter(PICTURES).shape == (2, 10)


def test_channels_of_a_grouped_convolution_leave_evenly() -> None:
    network = warmed(Grouped, PICTURES)

    shorter, _ = prune_to(network, (PICTURES,), Wish(keep_macs=0.5, channel_multiple=4))

    assert isinstance(shorter, Grouped)
    assert (shorter.grouped.groups, shorter.grouped.in_channels % 4, shorter.grouped.out_channels % 4) == (4, 0, 0)
    assert shorter.grouped.weight.shape[1] == shorter.grouped.in_channels // 4


@pytest.mark.parametrize("fused", [True, False])
def test_attention_loses_whole_heads_and_knows_it(fused: bool) -> None:  # noqa: FBT001  # pytest names it
    network = warmed(lambda: Transformer(fused=fused), WORDS)
    groups = [group for group in coupled_channels(network, (WORDS,)) if group.head_channels]

    shorter = cut_units(network, groups, [[1, 3]])

    assert [(group.channels, group.head_channels, len(group.units)) for group in groups] == [(32, 8, 4)]
    assert isinstance(shorter, Transformer)
    assert (shorter.attention.heads, shorter.attention.head_dim, shorter.attention.query.out_features) == (2, 8, 16)
    assert torch.equal(
        shorter.attention.value.weight,
        torch.cat([network.get_parameter("attention.value.weight")[rows] for rows in (slice(0, 8), slice(16, 24))]),
    )
    assert shorter(WORDS).shape == (2, 5)


def test_macs_of_an_attention_are_foreseen_exactly() -> None:
    network = warmed(Transformer, WORDS)

    shorter, facts = prune_to(network, (WORDS,), Wish(keep_macs=0.5, channel_multiple=4))

    assert facts["macs"] == macs_of(shorter, (WORDS,))
    assert facts["macs"] / facts["macs_before"] == pytest.approx(0.5, abs=0.03)


class Shuffled(nn.Module):
    """Channels change places between two convolutions, which the trace does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        out: Tensor = self.third(torch.relu(self.second(x)))
        return out


class FixedHeads(nn.Module):
    """Attention whose forward() has the number of heads by number."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o, self.wide, self.head = (nn.Linear(32, 32) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (part(x).view(n, t, 4, 8).transpose(1, 2) for part in (self.q, self.k, self.v))
        x = self.o((torch.softmax(q @ k.transpose(-2, -1), -1) @ v).transpose(1, 2).reshape(n, t, 32))
        out: Tensor = self.head(torch.relu(self.wide(x)))
        return out


def test_heads_that_forward_has_by_number_are_left_alone() -> None:
    _, facts = prune_to(FixedHeads(), (torch.randn(2, 6, 32),), Wish(keep_macs=0.65))

    assert "fails when channels leave" in facts["left_alone"]["v"]
    assert facts["channels"].keys() == {"o", "wide"}


def test_layers_that_read_other_channels_than_traced_are_left_alone() -> None:
    network = Shuffled()

    shorter, facts = prune_to(network, (PICTURES,), Wish(keep_macs=0.3))

    assert facts["left_alone"]["first"] == "its layers read other channels than the trace says"
    assert facts["channels"].keys() == {"second"}
    assert isinstance(shorter, Shuffled)
    assert shorter.first.out_channels == 32


def test_torchs_own_attention_is_left_alone_and_its_hidden_layer_is_not() -> None:
    network = nn.Sequential(nn.Linear(8, 32), nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), nn.Linear(32, 5))

    _, facts = prune_to(network, (torch.randn(2, 6, 8),), Wish(keep_macs=0.75))

    assert facts["channels"].keys() == {"1.linear1"}
    assert "nn.MultiheadAttention" in " ".join(facts["left_alone"].values())


def test_recurrent_cells_are_left_alone() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.cell, self.after, self.head = (
                nn.Linear(8, 16),
                nn.LSTM(16, 16, batch_first=True),
                nn.Linear(16, 64),
                nn.Linear(64, 5),
            )

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(torch.relu(self.after(self.cell(self.before(x))[0])))
            return out

    _, facts = prune_to(Recurrent(), (torch.randn(2, 6, 8),), Wish(keep_macs=0.8))

    assert facts["channels"].keys() == {"after"}


def test_wish_that_the_floor_forbids_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match=r"keep_macs = 0\.1 asks for .* floor_ratio = 0\.9 .* lower those"):
        prune_to(dscnn(), (PICTURES,), Wish(keep_macs=0.1, floor_ratio=0.9))


def test_network_with_nothing_to_prune_is_one_clear_error() -> None:
    with pytest.raises(ModelError, match="it reaches the network's output"):
        prune_to(nn.Sequential(nn.Linear(8, 5)), (torch.randn(2, 8),), Wish(keep_macs=0.5))


def test_the_network_that_is_pruned_stays_as_it_was() -> None:
    network = dscnn()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    prune_to(network, (PICTURES,), Wish(keep_macs=0.5))

    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_pruning_twice_gives_the_same_network() -> None:
    network = warmed(mobilenet, PICTURES)

    first, second = (prune_to(network, (PICTURES,), Wish(keep_macs=0.5))[0] for _ in range(2))

    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_wrong_cut_is_noticed() -> None:
    network = warmed(dscnn, PICTURES)
    groups = prunable(network, PICTURES)
    good = cut_units(network, groups[:1], [[0]])
    with torch.no_grad():
        good.get_parameter("features.6.weight")[0] += 1.0

    assert "other channels" in problem_of(network, good, groups[:1], [[0]], example_inputs=(PICTURES,))
