"""What lies inside the network: the cost of each operator of its file, and how far its forms agree, layer by layer.

Costs are counted from a file's shapes (`checks.footprint`), of the TFLite file where there is one: each of its operators stands as it
runs. The forms' activations were compared by `fidelity`, on a few samples of the validation split.
"""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.checks.footprint import macs_by_node
from pipeline.checks.graph import Graph, Node, read_graph
from pipeline.checks.layers import Layer, parting
from pipeline.fidelity import in_words
from pipeline.report.made import Made
from pipeline.report.model import LayerAgreement, LayerCost, LayerPair, Layers, LayerTimes

MOST_LAYERS = 1000
"""Of an operator each; a file with more says nothing that a reader could take in."""


def inside(
    made: Made, compared: Mapping[tuple[str, str], Sequence[Layer]], times: tuple[LayerTimes, ...]
) -> Layers | None:
    """Return the layers of the run's last file; None where the recipe exports nothing."""
    rows = made.file_rows()
    if not rows:
        return None
    artifact = made.done[rows[-1].model].artifact
    graph = read_graph(artifact.file(f"model.{artifact.kind}"))
    return Layers(
        file=rows[-1].title,
        costs=tuple(_costs(graph))[:MOST_LAYERS],
        times=times,
        pairs=tuple(_pair(forms, layers) for forms, layers in compared.items() if layers),
    )


def _costs(graph: Graph) -> Iterator[LayerCost]:
    counted = macs_by_node(graph)
    known = None if counted is None else [count for _, count in counted]
    for number, node in enumerate(graph.nodes):
        count = known[number] if known is not None else None
        yield LayerCost(name=node.made, operator=node.op, macs=count, weight_bytes=_weight_bytes(graph, node))


def _weight_bytes(graph: Graph, node: Node) -> int:
    given = {name for name in node.inputs if name and graph.tensors[name].constant}
    return sum(graph.tensors[name].size_bytes for name in given)


def _pair(forms: tuple[str, str], layers: Sequence[Layer]) -> LayerPair:
    parted = parting(layers)
    told = tuple(
        LayerAgreement(name=layer.first, operator=layer.operator, equal=layer.equal, max_lsb=layer.max_lsb)
        for layer in layers[:MOST_LAYERS]
    )
    return LayerPair(
        one=forms[0], other=forms[1], layers=told, first_divergence=None if parted is None else in_words(forms, parted)
    )
