"""Networks on disk: saved, rebuilt exactly, and refused when the files are not what they claim to be."""

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.architecture import macs_of, parameters_of, rebuild, save_network
from pipeline.errors import ModelError
from pipeline.networks.dscnn import dscnn
from pipeline.networks.resnet import resnet8
from pipeline.saved_network import ARCHITECTURE, WEIGHTS, describe, read_architecture, read_header

PICTURES = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class Heads(nn.Module):
    """Attention over rows of pixels whose number of heads is a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.extents = [4, 8]
        self.query = nn.Linear(8, 32)
        self.norm = nn.LayerNorm(32)
        self.table = nn.Embedding(5, 32)
        self.offset = nn.Parameter(torch.zeros(1, 32))


def pruned_dscnn() -> nn.Module:
    """Cut the first convolution, what is joined to it, and the next one's input, from 64 channels to 40."""
    network = dscnn()
    kept = torch.arange(40)
    stem, norm, depthwise, norm2, pointwise = (network.features[index] for index in (0, 1, 3, 4, 6))
    for layer, axes in ((stem, (0,)), (norm, (0,)), (depthwise, (0,)), (norm2, (0,)), (pointwise, (1,))):
        for key, parameter in list(layer.named_parameters()):
            setattr(layer, key, nn.Parameter(parameter.index_select(axes[0], kept)))
        for key, buffer in list(layer.named_buffers()):
            setattr(layer, key, buffer[kept] if buffer.ndim else buffer)
    for layer, keys in (
        (stem, ["out_channels"]),
        (norm, ["num_features"]),
        (depthwise, ["in_channels", "out_channels", "groups"]),
        (norm2, ["num_features"]),
        (pointwise, ["in_channels"]),
    ):
        for key in keys:
            setattr(layer, key, 40)
    return network


def alter(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a folder's architecture.json."""
    document = json.loads((folder / ARCHITECTURE).read_text())
    change(document)
    (folder / ARCHITECTURE).write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved, pruned DS-CNN."""
    save_network(pruned_dscnn(), tmp_path, constructor="student", fresh=dscnn())
    return tmp_path


def test_pruned_network_is_rebuilt_with_equal_outputs_bit_for_bit(tmp_path: Path) -> None:
    network = pruned_dscnn()
    network(PICTURES)  # running statistics of their own
    save_network(network, tmp_path, constructor="student", fresh=dscnn())

    again = rebuild(dscnn(), tmp_path)

    assert torch.equal(network.eval()(PICTURES), again.eval()(PICTURES))
    assert repr(network) == repr(again)


def test_rebuilding_leaves_the_fresh_module_as_it_was(folder: Path) -> None:
    fresh = dscnn()
    before = copy.deepcopy(fresh.state_dict())

    rebuild(fresh, folder)

    assert all(torch.equal(before[name], tensor) for name, tensor in fresh.state_dict().items())


def test_unpruned_network_has_an_empty_delta(tmp_path: Path) -> None:
    save_network(resnet8(), tmp_path, constructor="teacher:big", fresh=resnet8())

    architecture = read_architecture(tmp_path)

    assert (architecture.constructor, architecture.shapes, architecture.attributes) == ("teacher:big", {}, {})


def test_saving_twice_writes_equal_bytes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    save_network(rebuild(dscnn(), folder), other, constructor="student", fresh=dscnn())

    assert [(other / name).read_bytes() for name in (WEIGHTS, ARCHITECTURE)] == [
        (folder / name).read_bytes() for name in (WEIGHTS, ARCHITECTURE)
    ]


def test_attributes_of_the_users_own_modules_are_written_back(tmp_path: Path) -> None:
    network = Heads()
    network.heads, network.extents, network.norm.normalized_shape = 2, [2, 8], (16,)
    network.query = nn.Linear(8, 16)
    network.norm.weight, network.norm.bias = nn.Parameter(torch.ones(16)), nn.Parameter(torch.zeros(16))
    network.table.weight, network.table.embedding_dim = nn.Parameter(torch.ones(5, 16)), 16
    network.offset = nn.Parameter(torch.ones(1, 16))
    save_network(network, tmp_path, constructor="student", fresh=Heads())

    again = rebuild(Heads(), tmp_path)

    assert isinstance(again, Heads)
    assert (again.heads, again.extents, again.norm.normalized_shape, again.query.out_features) == (2, [2, 8], (16,), 16)
    assert (again.table.embedding_dim, again.offset.shape) == (16, (1, 16))


def test_shared_parameter_stays_shared(tmp_path: Path) -> None:
    def build() -> nn.Sequential:
        network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        network[1].weight = network[0].weight
        return network

    save_network(build(), tmp_path, constructor="student", fresh=build())
    again = rebuild(build(), tmp_path)

    assert isinstance(again, nn.Sequential)
    assert again[0].weight is again[1].weight


def test_description_says_what_was_pruned_without_loading_the_network(folder: Path) -> None:
    described = describe(folder)

    assert described["constructor"] == "student"
    assert described["pruned"]["features.0.out_channels"] == {"was": 64, "is": 40}
    assert described["elements"] == sum(tensor.numel() for tensor in pruned_dscnn().state_dict().values())
    assert described["weights_bytes"] == (folder / WEIGHTS).stat().st_size


def test_another_network_than_the_constructors_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="isn't the task's student"):
        save_network(resnet8(), tmp_path, constructor="student", fresh=dscnn())


def test_network_larger_than_its_constructors_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="never above its constructor's"):
        save_network(dscnn(width=72), tmp_path, constructor="student", fresh=dscnn())


def test_network_whose_constructor_changed_since_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="has changed since"):
        rebuild(dscnn(width=48), folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document.update(schema=2), "schema 2"),
        (lambda document: document.update(more=1), "keys"),
        (lambda document: document.update(constructor="os.system"), "constructor"),
        (lambda document: document.update(constructor=["student"]), "constructor"),
        (lambda document: document.update(shapes=[]), "shapes is a list"),
        (lambda document: document["shapes"].update(x={"was": [1], "is": [1], "code": 1}), "shapes: x"),
        (lambda document: document["shapes"].update(x={"was": [4, 4], "is": [4]}), "number of extents"),
        (lambda document: document["shapes"].update(x={"was": [1] * 17, "is": [1] * 17}), "at most 16"),
        (
            lambda document: document["attributes"].update({"features.0": {"out_channels": {"was": 64, "is": 128}}}),
            "never above",
        ),
        (
            lambda document: document["attributes"].update({"features.0": {"out_channels": {"was": 64, "is": 0}}}),
            "1 or more",
        ),
        (
            lambda document: document["attributes"].update({"features.0": {"out_channels": {"was": 64, "is": -1}}}),
            "whole numbers",
        ),
        (
            lambda document: document["attributes"].update({"features.0": {"out_channels": {"was": 64, "is": 1.5}}}),
            "whole numbers",
        ),
        (
            lambda document: document["attributes"].update({"features.0": {"out_channels": {"was": 64, "is": True}}}),
            "whole numbers",
        ),
        (
            lambda document: document["attributes"].update({"features.0": {"__class__": {"was": 64, "is": 4}}}),
            "__class__",
        ),
        (lambda document: document["attributes"].update({"nowhere": {"groups": {"was": 2, "is": 1}}}), "doesn't build"),
        (lambda document: document["shapes"].pop("features.0.weight"), "has changed since"),
        (lambda document: document["shapes"]["features.0.weight"].update({"is": [39, 1, 3, 3]}), "has changed since"),
    ],
)
def test_hostile_architecture_is_one_clear_error(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    alter(folder, change)

    with pytest.raises(ModelError, match=message):
        rebuild(dscnn(), folder)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b'{"schema": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"null"])
def test_architecture_that_is_no_json_is_one_clear_error(folder: Path, text: bytes) -> None:
    (folder / ARCHITECTURE).write_bytes(text)

    with pytest.raises(ModelError, match=ARCHITECTURE):
        describe(folder)


def header_of(**entry: Any) -> bytes:
    text = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}}).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}" + b"left over",
        header_of() + b"\x00" * 7,
        header_of(shape=[3]) + b"\x00" * 8,
        header_of(shape=[2**41]) + b"\x00" * 8,
        header_of(shape=[2**30, 2**30, 0]) + b"\x00" * 8,
        header_of(shape=[-2]) + b"\x00" * 8,
        header_of(dtype="OBJECT") + b"\x00" * 8,
        header_of(data_offsets=[4, 12]) + b"\x00" * 12,
    ],
)
def test_weights_that_do_not_fill_their_file_are_refused(folder: Path, content: bytes) -> None:
    (folder / WEIGHTS).write_bytes(content)

    with pytest.raises(ModelError, match=WEIGHTS):
        read_header(folder)


def test_weights_of_another_type_are_refused(folder: Path) -> None:
    tensors = {name: tensor.double() for name, tensor in rebuild(dscnn(), folder).state_dict().items()}
    save_file(tensors, folder / WEIGHTS)

    with pytest.raises(ModelError, match="float64"):
        rebuild(dscnn(), folder)


def test_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        rebuild(dscnn(), tmp_path)


@pytest.mark.parametrize(
    ("network", "inputs", "macs"),
    [
        (nn.Linear(3, 4), (torch.zeros(2, 3),), 12),
        (nn.Linear(3, 4), (torch.zeros(2, 5, 3),), 60),
        (nn.Conv1d(4, 8, 3), (torch.zeros(2, 4, 10),), 8 * 8 * 4 * 3),
        (nn.Conv2d(4, 8, 3, padding=1, groups=2), (torch.zeros(2, 4, 10, 10),), 100 * 8 * 2 * 9),
        (nn.Conv2d(4, 8, (3, 1), stride=2, dilation=2), (torch.zeros(2, 4, 11, 11),), 4 * 6 * 8 * 4 * 3),
        (nn.ConvTranspose2d(4, 6, 3, 2, groups=2), (torch.zeros(2, 4, 8, 8),), 64 * 4 * 3 * 9),
        (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)), (torch.zeros(2, 4, 8, 8),), 0),
        (nn.LSTM(8, 16, batch_first=True), (torch.zeros(2, 5, 8),), 5 * 64 * (8 + 16)),
        # four projections 32x32 over 7 rows, two products of 7x7x32, a hidden layer of 64
        (
            nn.TransformerEncoderLayer(32, 4, 64, batch_first=True),
            (torch.zeros(2, 7, 32),),
            7 * 4 * 1024 + 2 * 49 * 32 + 2 * 7 * 32 * 64,
        ),
    ],
)
def test_macs_are_those_of_the_definition(network: nn.Module, inputs: tuple[torch.Tensor, ...], macs: int) -> None:
    assert macs_of(network, inputs) == macs


def test_counting_leaves_the_network_in_its_mode_and_its_statistics_alone() -> None:
    network = dscnn()
    network.features[4].eval()
    before = copy.deepcopy(network.state_dict())

    macs_of(network, (PICTURES,))

    assert (network.training, network.features[1].training, network.features[4].training) == (True, True, False)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_shared_parameters_count_once() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight

    assert parameters_of(network) == 16 + 4 + 4
