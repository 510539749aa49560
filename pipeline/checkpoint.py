"""Checkpoints: what a training run needs to go on, in one file, without pickle.

The file is the sha256 of the rest, then safetensors, whose metadata hold the numbers as JSON: Python writes a float so that
it reads back exactly. It is written beside its place, flushed to the disk and renamed, so that a kill at any moment leaves
the old one or the new one; a file that is damaged all the same does not count.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from pipeline.errors import StoreError
from pipeline.layout import aligned

DIGEST_BYTES = 32
HEADER_BYTES = 8
"""A safetensors file begins with its header's length, https://github.com/huggingface/safetensors#format."""


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Put tensors and a JSON object in the place of what the file held; StoreError when the disk refuses."""
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    payload = save(plain, metadata={"numbers": json.dumps(dict(numbers), allow_nan=False)})
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(
            f"checkpoint {path} can't be written ({error.strerror}); free space there, or move the store, and run again: "
            "it continues from the last one"
        ) from error


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and the numbers, or None where there is no file or a damaged one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, payload = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    length = int.from_bytes(payload[:HEADER_BYTES], "little")
    header = json.loads(payload[HEADER_BYTES : HEADER_BYTES + length])
    numbers: dict[str, Any] = json.loads(header["__metadata__"]["numbers"])
    return aligned(load(payload)), numbers
