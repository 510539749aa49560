import pytest
import torch
from torch import Tensor, nn

from pipeline.distillation.features import features_of
from pipeline.distillation.seen.attention_relations import AttentionRelations
from pipeline.errors import TaskError
from pipeline.networks.resnet import resnet8
from pipeline.networks.transformer import TextEncoder

IDS, MASK = torch.randint(0, 40, (3, 6)), torch.ones(3, 6, dtype=torch.long)


def encoder(width: int, *, depth: int = 2) -> TextEncoder:
    torch.manual_seed(width)
    return TextEncoder(vocabulary=40, width=width, heads=2, depth=depth, feed_forward=16, length=6, outputs=3)


def made(student: nn.Module, teacher: nn.Module) -> tuple[AttentionRelations, dict[str, Tensor], dict[str, Tensor]]:
    pairs = AttentionRelations.match(student, teacher, (IDS, MASK))
    seen = [
        features_of(network, [pair[side] for pair in pairs], (IDS, MASK))
        for side, network in enumerate((student, teacher))
    ]
    return AttentionRelations(pairs, *seen), seen[0], seen[1]


def test_the_last_layers_queries_keys_and_values_are_compared() -> None:
    loss, _, _ = made(encoder(8), encoder(12, depth=3))

    assert [teacher.rpartition(".")[0] for _, teacher in loss.pairs] == ["blocks.2.attention"] * 3
    assert [student.rpartition(".")[0] for student, _ in loss.pairs] == ["blocks.1.attention"] * 3
    assert loss.heads == 4


def test_networks_of_other_widths_are_compared_and_a_network_with_itself_is_the_same() -> None:
    other, student, teacher = made(encoder(8), encoder(12))
    same, mine, again = made(encoder(8), encoder(8))

    assert float(other(student, teacher, None)) > 1e-4
    assert float(same(mine, again, None)) == pytest.approx(0, abs=1e-6)


def test_padding_is_neither_asked_nor_looked_at() -> None:
    loss, student, teacher = made(encoder(8), encoder(12))
    mask = MASK.clone()
    mask[:, 4:] = 0
    before = float(loss(student, teacher, mask))
    changed = {name: torch.cat([value[:, :4], 9 * value[:, 4:]], 1) for name, value in student.items()}

    assert float(loss(changed, teacher, mask)) == pytest.approx(before, rel=1e-5)
    assert float(loss(changed, teacher, None)) != pytest.approx(float(loss(student, teacher, None)), rel=1e-3)


def test_its_gradient_is_finite_with_padding() -> None:
    loss, student, teacher = made(encoder(8), encoder(12))
    mask = MASK.clone()
    mask[0, 1:] = 0
    leaves = {name: value.clone().requires_grad_() for name, value in student.items()}
    loss(leaves, teacher, mask).backward()

    assert all(torch.isfinite(value.grad).all() for value in leaves.values() if value.grad is not None)
    assert any(value.grad is not None and value.grad.abs().max() > 0 for value in leaves.values())


def test_a_network_without_attention_has_no_pairs_and_a_wrong_name_is_named() -> None:
    assert AttentionRelations.match(resnet8(), encoder(8), ()) == ()
    with pytest.raises(TaskError, match=r"TextEncoder has no attention 'blocks.0.attentoin'; did you mean"):
        AttentionRelations.layers(("blocks.0.attentoin", "blocks.0.attention"), encoder(8), encoder(8))
