"""A Graph as JSON and back, so that one process may parse a stranger's file and another judge what is in it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.checks.graph import About, Content, External, Graph, Node, Quantization, Tensor


def to_json(graph: Graph) -> str:
    """Return a graph as one JSON document; scales that are no number are written as JavaScript writes them."""
    tensors = [_plain(tensor) for tensor in graph.tensors.values()]
    nodes = [_fields(node) for node in graph.nodes]
    plain = _fields(graph) | {"path": str(graph.path), "tensors": tensors, "nodes": nodes, "kept": sorted(graph.kept)}
    return json.dumps(plain | {"about": asdict(graph.about)})


def from_json(text: str) -> Graph:
    """Return the graph in a document that `to_json` wrote."""
    plain = json.loads(text)
    tensors = {tensor["name"]: _tensor(tensor) for tensor in plain["tensors"]}
    lists = {name: tuple(plain[name]) for name in ("inputs", "outputs")}
    nodes = tuple(_node(node) for node in plain["nodes"])
    return Graph(
        path=Path(plain["path"]),
        format=plain["format"],
        size_bytes=plain["size_bytes"],
        nodes=nodes,
        tensors=tensors,
        kept=frozenset(plain["kept"]),
        about=_about(plain["about"]),
        **lists,
    )


def _fields(record: object) -> dict[str, Any]:
    # As it is: dataclasses.asdict copies each number of each scale.
    return {name: getattr(record, name) for name in record.__dataclass_fields__}  # type: ignore[attr-defined]  # a dataclass


def _plain(tensor: Tensor) -> dict[str, Any]:
    plain = _fields(tensor)
    for name in ("quantization", "content"):
        plain[name] = None if plain[name] is None else _fields(plain[name])
    return plain


def _tensor(plain: dict[str, Any]) -> Tensor:
    quantization = plain["quantization"]
    if quantization is not None:
        quantization = Quantization(
            tuple(quantization["scales"]), tuple(quantization["zero_points"]), quantization["axis"]
        )
    content = None if plain["content"] is None else Content(**plain["content"])
    lists = {name: None if plain[name] is None else tuple(plain[name]) for name in ("shape", "values")}
    return Tensor(**{**plain, **lists, "quantization": quantization, "content": content})


def _node(plain: dict[str, Any]) -> Node:
    lists = {name: tuple(plain[name]) for name in ("inputs", "outputs")}
    attributes = tuple((name, tuple(values)) for name, values in plain["attributes"])
    return Node(**{**plain, **lists, "attributes": attributes})


def _about(plain: dict[str, Any]) -> About:
    pairs = {name: tuple((first, second) for first, second in plain[name]) for name in ("opsets", "texts", "functions")}
    return About(**{**plain, **pairs, "external": tuple(External(**each) for each in plain["external"])})
