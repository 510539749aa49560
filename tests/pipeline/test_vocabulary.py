"""Trimmed tables: what the data holds keeps its row, the rest shares one, and the network comes back bit for bit in both files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.architecture import parameters_of, rebuild, save_network
from pipeline.checks.answers import open_file
from pipeline.errors import ModelError
from pipeline.quantization.fold import fold
from pipeline.quantization.form import FileForm
from pipeline.quantization.trace import trace
from pipeline.stages.export_onnx import write_onnx
from pipeline.stages.export_tflite import write_tflite
from pipeline.vocabulary import TrimmedTable, tables_of, trim

V, D, T = 60, 8, 5


class Words(nn.Module):
    """Ids [N, T] to logits [N, 3]; places have a table too, of which every row is used."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(V, D)
        self.places = nn.Embedding(T, D)
        self.head = nn.Linear(D, 3)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        logits: Tensor = self.head(torch.relu(self.words(ids) + self.places(places)).mean(1))
        return logits


class Tied(Words):
    """The words' table is the output layer as well."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) @ self.out.weight.T[:3]

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(D, V, bias=False)
        self.out.weight = self.words.weight


def built(kind: type[nn.Module] = Words) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def data() -> Tensor:
    """Ids 0 to 19 often, 20 once, no others."""
    ids = torch.arange(40).remainder(20).reshape(-1, T)
    return torch.cat([ids, torch.tensor([[20, 1, 2, 3, 4]])])


def trimmed() -> nn.Module:
    network = built()
    assert trim(network, iter([(data(),)])) == {"words": (V, 21)}
    return network


def test_words_that_came_say_what_they_said_and_all_others_one_thing() -> None:
    whole, network = built(), trimmed()
    others = torch.tensor([[20] * T, [21] * T, [59] * T])

    assert torch.equal(network(data()[:8]), whole(data()[:8]))
    assert len({tuple(row.tolist()) for row in network(others)}) == 1
    assert parameters_of(whole) - parameters_of(network) == (V - 21) * D


def test_the_shared_row_starts_as_the_mean_of_those_that_leave_and_learns() -> None:
    whole, network = built(), trimmed()
    table = network.get_submodule("words")
    assert isinstance(table, TrimmedTable)
    torch.testing.assert_close(table.rows.weight[0], whole.state_dict()["words.weight"][20:].mean(0))
    network(data()).sum().backward()

    assert table.rows.weight.grad is not None
    assert bool(table.rows.weight.grad[0].any())


def test_a_table_that_is_used_whole_or_shared_is_left_alone() -> None:
    assert trim(built(), iter([(torch.arange(V).repeat(2).reshape(-1, T),)])) == {}
    tied = built(Tied)
    assert trim(tied, iter([(data(),)])) == {}


def test_it_is_rebuilt_from_disk_bit_for_bit(tmp_path: Path) -> None:
    network = trimmed()
    save_network(network, tmp_path, constructor="student", fresh=built())
    again = rebuild(built(), tmp_path)

    assert tables_of(again) == {"words": 21}
    assert torch.equal(again(data()), network(data()))


@pytest.mark.parametrize(
    "tables", [{"words": 61}, {"words": 0}, {"words": "21"}, {"head": 21}, {"nowhere": 2}, ["words"]]
)
def test_a_table_that_the_constructor_does_not_have_is_refused(tmp_path: Path, tables: Any) -> None:
    save_network(trimmed(), tmp_path, constructor="student", fresh=built())
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tables": tables}))

    with pytest.raises(ModelError):
        rebuild(built(), tmp_path)


def test_both_files_look_words_up_as_the_network_does(tmp_path: Path) -> None:
    network, ids = trimmed(), torch.tensor([[3, 59, 20, 7, 0], [1, 2, 3, 4, 5]])
    program = fold(trace(network, (ids,)))
    write_onnx(program, (ids,), tmp_path / "m.onnx", form=FileForm(dynamic_batch=True))
    write_tflite(program, (ids,), tmp_path / "m.tflite", form=FileForm())

    for name in ("m.onnx", "m.tflite"):
        (found,) = open_file(tmp_path / name).answer([ids.numpy()])
        np.testing.assert_allclose(found, network(ids).detach().numpy(), atol=1e-5)
