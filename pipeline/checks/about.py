"""What a model file says of itself beside its graph: versions, who made it, its texts, and weights in other files.

Texts are read up to a bound, so that a file full of them costs no more than it weighs. ONNX keeps them in documentation
strings and `metadata_props` (https://onnx.ai/onnx/repo-docs/IR.html), TFLite in its description and in named buffers.
"""

from collections.abc import Callable, Iterator
from typing import Any

from pipeline.checks.graph import About, External

MAX_TEXTS = 2000
MAX_TEXT = 4096
MAX_EXTERNAL_END = 2**62
EXTERNAL = 1
"""onnx.TensorProto.EXTERNAL; this module serves TFLite files too, which shall not import onnx."""
WITHOUT_AUTHOR = frozenset({"min_runtime_version"})
"""TFLite metadata that every converter writes and that names nobody."""


def about_onnx(model: Any, tensors: list[tuple[Any, int]]) -> About:
    """Return what an ONNX model says of itself; `tensors` are all its constants, those of nested graphs too, each with its bytes."""
    texts, taken = _bounded(_onnx_texts(model))
    return About(
        opsets=tuple((opset.domain, opset.version) for opset in model.opset_import[:64]),
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip()[:200],
        texts=texts,
        metadata_bytes=taken,
        external=tuple(_external(tensor, size) for tensor, size in tensors if tensor.data_location == EXTERNAL),
        functions=tuple((function.domain, function.name) for function in model.functions),
        training=len(model.training_info) > 0,
    )


def about_tflite(model: Any, external: list[External], size_bytes: int, *, spend: Callable[[int], int]) -> About:
    """Return what a TFLite model says of itself; `spend` keeps count of the tables that are read."""
    description = (model.Description() or b"")[:MAX_TEXT].decode(errors="replace")
    texts, taken = [("description", description)] if description else [], len(description)
    made_by = description
    for index in range(spend(model.MetadataLength())):
        entry = model.Metadata(index)
        name = (entry.Name() or b"")[:MAX_TEXT].decode(errors="replace")
        length = model.Buffers(entry.Buffer()).DataLength() if entry.Buffer() < model.BuffersLength() else 0
        taken += min(length, size_bytes)
        if length and len(texts) < MAX_TEXTS:
            content = bytes(model.Buffers(entry.Buffer()).DataAsNumpy()[:MAX_TEXT])
            texts.append((name, content.decode("latin-1")))
        made_by = made_by or ("" if name in WITHOUT_AUTHOR else name)
    return About(
        schema_version=model.Version(),
        producer=made_by[:200],
        texts=tuple(texts),
        metadata_bytes=taken,
        external=tuple(external),
    )


def _onnx_texts(model: Any) -> Iterator[tuple[str, str]]:
    yield "doc_string", model.doc_string
    yield from ((entry.key[:200], entry.value) for entry in model.metadata_props)
    graph = model.graph
    yield f"graph {graph.name[:200]}", graph.doc_string
    yield from ((entry.key[:200], entry.value) for entry in graph.metadata_props)
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        yield part.name[:200], part.doc_string
        yield from ((part.name[:200], entry.value) for entry in part.metadata_props)


def _bounded(texts: Iterator[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return the first texts, each cut short, and the bytes of all of them."""
    kept: list[tuple[str, str]] = []
    taken = 0
    for where, text in texts:
        taken += len(text)
        if text and len(kept) < MAX_TEXTS:
            kept.append((where, text[:MAX_TEXT]))
    return tuple(kept), taken


def _external(tensor: Any, size_bytes: int) -> External:
    found = {entry.key: entry.value for entry in tensor.external_data}
    length = _number(found.get("length", "0")) or size_bytes  # it may be left out
    end = _number(found.get("offset", "0")) + length
    if end > MAX_EXTERNAL_END:
        raise ValueError(f"weights of {tensor.name[:60]!r} end at byte {end:.3g}, beyond any file")
    return External(tensor.name, found.get("location", ""), end)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"{text[:20]!r} is no place in a file")
    return int(text)
