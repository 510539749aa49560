"""Fingerprints of what a user's task holds, so that the store knows what changed and what didn't.

Data counts by content; a network by its structure and first weights; a function by the code that it reaches
(`pipeline.reach`).
"""

import hashlib
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.errors import TaskError
from pipeline.reach import reach

PLAIN = (int, float, complex, str, bytes, type(None), type(...), torch.dtype, torch.device, np.dtype)


def text_fingerprint(*texts: str) -> str:
    """Return the sha256 of some texts, each told from the next."""
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode(errors="surrogatepass")
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()


def sample_fingerprint(value: Any) -> str:
    """Return the sha256 of arrays, tensors, numbers, texts, and of tuples, lists, sets and dicts of them."""
    digest = hashlib.sha256()
    for piece in _pieces(value):
        digest.update(piece)
    return digest.hexdigest()


def network_fingerprint(module: nn.Module) -> str:
    """Return the sha256 of a network's printed structure and of its parameters and buffers."""
    return text_fingerprint(repr(module), sample_fingerprint(dict(module.state_dict())))


def code_fingerprint(value: Any, root: Path) -> str:
    """Return the sha256 of the code, and of the values, that a function or another value reaches within `root`."""
    lines = (line if isinstance(line, str) else _content(line) for line in reach(value, root))
    return text_fingerprint(*lines)


def _content(value: Any) -> str:
    return network_fingerprint(value) if isinstance(value, nn.Module) else sample_fingerprint(value)


def _pieces(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield from _tensor_pieces(value)
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.hasobject:
        yield from _pieces(value.tolist())
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype} {value.shape} ".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield from _pieces([[str(key), value[key]] for key in sorted(value, key=str)])
    elif isinstance(value, AbstractSet):
        yield from _pieces(sorted(sample_fingerprint(item) for item in value))
    elif isinstance(value, tuple | list):
        yield f"{len(value)} of ".encode()
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, PLAIN):
        content = value if isinstance(value, bytes) else repr(value).encode(errors="surrogatepass")
        yield f"{type(value).__name__} {len(content)} ".encode() + content
    elif hasattr(value, "__array__"):
        yield from _pieces(np.asarray(value))
    else:
        raise TaskError(
            f"the data hold a {type(value).__qualname__}, whose content can't be compared; "
            "give arrays, tensors, numbers, texts, or tuples, lists and dicts of them"
        )


def _tensor_pieces(tensor: torch.Tensor) -> Iterator[bytes]:
    dense = tensor.detach().cpu().to_dense() if tensor.layout != torch.strided else tensor.detach().cpu()
    try:
        yield from _pieces(dense.resolve_conj().resolve_neg().numpy())
    except TypeError:  # bfloat16 and the float8 types, which numpy lacks
        yield f"{tensor.dtype} ".encode()
        yield from _pieces((tuple(dense.shape), dense.contiguous().reshape(-1).view(torch.uint8).numpy()))
