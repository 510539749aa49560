"""Program: what is done to a frozen program (quantize and dequantize ops with constant scales) on its way into a file.

Each function changes the graph, never an answer: the program gives the same numbers before and after.

Legend: `q` a quantize op, `dq` a dequantize op of torch's `quantized_decomposed`; x [N, C, ...].
"""

from typing import Any

import torch
from torch import fx

from pipeline.quantization.graph import WEIGHTED, add_constant, calls, constant_of, delete_unread, rank_of
from pipeline.quantization.operations import CLAMPS
from pipeline.quiet import copied

# The operators exist once this module is loaded; it is torch's own way of registering them.
from torch.ao.quantization.fx import _decomposed  # noqa: F401  # isort: skip

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed
QUANTIZES = {quantized.quantize_per_tensor.default, quantized.quantize_per_channel.default}
DEQUANTIZES = {quantized.dequantize_per_tensor.default, quantized.dequantize_per_channel.default}


def is_frozen(graph_module: fx.GraphModule) -> bool:
    """Tell a frozen int8 program from a float one."""
    return bool(calls(graph_module, QUANTIZES | DEQUANTIZES))


def fold_weights(frozen: fx.GraphModule) -> fx.GraphModule:
    """Return a copy in which weights lie as int8, without their q: a byte a weight."""
    own = copied(frozen)
    for node in calls(own, QUANTIZES):
        weight = constant_of(own, node.args[0])
        if weight is not None:
            with torch.no_grad():
                settings = [
                    value if (value := constant_of(own, argument)) is not None else argument
                    for argument in node.args[1:]
                ]
                integers = node.target(weight, *settings)  # type: ignore[operator]  # an operator by `calls`
            constant = add_constant(own, f"{node.args[0].target}_int8", integers, before=node)  # type: ignore[union-attr]  # a get_attr node
            node.replace_all_uses_with(constant)
    own.graph.eliminate_dead_code()
    own.recompile()
    return own


def take_channels_last(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Return a copy whose inputs of three and more dimensions are [N, ..., C]."""
    own = copied(graph_module)
    for node in [node for node in own.graph.nodes if node.op == "placeholder" and rank_of(node) > 2]:
        rank = rank_of(node)
        order = [0, rank - 1, *range(1, rank - 1)]
        node.meta["val"] = node.meta["val"].permute(0, *range(2, rank), 1)
        for source in _where_to_turn(node):
            readers = list(source.users)
            with own.graph.inserting_after(source):
                view = own.graph.call_function(aten.permute.default, (source, order))
            with own.graph.inserting_after(view):  # a copy: exporters write strides out where a pooling sees them
                turned = own.graph.call_function(
                    aten.clone.default, (view,), {"memory_format": torch.contiguous_format}
                )
            last = _rounded_again(own, turned, source)
            for reader in readers:
                reader.replace_input_with(source, last)
    own.recompile()
    return own


def flatten_linears(frozen: fx.GraphModule) -> fx.GraphModule:
    """Return a copy whose int8 linear layers take matrices [M, I]: ONNX has an integer kernel for those alone."""
    own = copied(frozen)
    for node in calls(own, {aten.linear.default}):
        x: Any = node.args[0]
        shape = list(node.meta["val"].shape)
        outputs = _dequantised(node)
        if (
            len(shape) < 3
            or not outputs
            or x.target not in DEQUANTIZES
            or not all(isinstance(n, int) for n in shape[1:])
        ):
            continue
        weight: Any = node.args[1]
        features = constant_of(own, weight.args[0]) if weight.target in DEQUANTIZES else None
        assert features is not None  # an int8 layer's weight is a constant, folded
        rows = _reshaped(x, [-1, int(features.shape[-1])])
        node.replace_input_with(x, _rounded_again(own, rows, x))
        for output in outputs:
            readers = list(output.users)
            last = _rounded_again(own, _reshaped(output, [-1, *shape[1:]]), output)
            for reader in readers:
                reader.replace_input_with(output, last)
    own.recompile()
    return own


def _dequantised(node: fx.Node) -> list[fx.Node]:
    """Return the dqs behind a node's q, with nothing but a clamp between them; none where it isn't quantised."""
    users = list(node.users)
    while len(users) == 1 and users[0].target in CLAMPS:
        users = list(users[0].users)
    return list(users[0].users) if len(users) == 1 and users[0].target in QUANTIZES else []


def _reshaped(x: fx.Node, shape: list[int]) -> fx.Node:
    with x.graph.inserting_after(x):
        return x.graph.call_function(aten.reshape.default, (x, shape))


def _where_to_turn(placeholder: fx.Node) -> list[fx.Node]:
    """Return the nodes after which the axes turn: behind an int8 input's dq, so that integers are turned."""
    users = list(placeholder.users)
    if not users or any(user.target not in QUANTIZES for user in users):
        return [placeholder]
    return [dq for user in users for dq in user.users]


def _rounded_again(graph_module: fx.GraphModule, turned: fx.Node, source: fx.Node) -> fx.Node:
    """Quantise what was turned as its source was: the kernels take integers on both sides of a permutation."""
    if source.op == "placeholder":
        return turned
    q_settings = source.args[0].args[1:]  # type: ignore[union-attr]  # a dq reads a q
    with graph_module.graph.inserting_after(turned):
        q = graph_module.graph.call_function(quantized.quantize_per_tensor.default, (turned, *q_settings))
    with graph_module.graph.inserting_after(q):
        return graph_module.graph.call_function(quantized.dequantize_per_tensor.default, (q, *source.args[1:]))


def drop_clamps_that_saturation_does(frozen: fx.GraphModule) -> None:
    """Drop a clamp whose bounds are those of the int8 tensor that it goes into: saturation gives the same numbers.

    A clamp that reads a dq stays: without it dq and q of two scales lie side by side, which the TFLite converter merges.
    """
    read_again = calls(frozen, DEQUANTIZES)
    for node in calls(frozen, CLAMPS):
        users = list(node.users)
        if (
            node.args[0] not in read_again
            and len(users) == 1
            and users[0].target is quantized.quantize_per_tensor.default
        ):
            low, high = _bounds(node)
            settings: Any = users[0].args[1:5]
            scale, zero_point, least, most = settings
            ends = torch.tensor([low, high], dtype=torch.float32)
            below, above = (torch.round(ends * (1.0 / scale)) + zero_point).tolist()
            if below <= least and above >= most:
                node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]  # the clamped tensor
    frozen.graph.eliminate_dead_code()
    frozen.recompile()


def shield_float_layers(frozen: fx.GraphModule) -> None:
    """Double what a layer with float weights reads from a dq, as x + x, and halve its weights: no answer changes, and no runtime rounds them.

    Both runtimes quantise float weights between dq and q by themselves, by the range of all: ONNX Runtime's WeightBiasQuantization when a
    session opens, LiteRT's converter on the way. A layer that was left in float because int8 ruins it would be ruined after all.
    (LiteRT's converter would fold a factor into the weights, and carry int8 through a clamp.)
    """
    for node in calls(frozen, WEIGHTED):
        source, weight = node.args[0], constant_of(frozen, node.args[1])
        if isinstance(source, fx.Node) and source.target in DEQUANTIZES and weight is not None:
            with frozen.graph.inserting_before(node):
                twice = frozen.graph.call_function(aten.add.Tensor, (source, source))
            twice.meta = dict(source.meta)
            name = str(node.args[1].target)  # type: ignore[union-attr]  # a get_attr node by `constant_of`
            halved = add_constant(frozen, f"{name}_halved", weight.detach() / 2, before=node)
            node.args = (twice, halved, *node.args[2:])
    delete_unread(frozen)
    frozen.recompile()


def _bounds(node: fx.Node) -> tuple[float, float]:
    """Return a clamp's lower and upper bound, infinite where it has none."""
    if node.target is aten.relu.default:
        return 0.0, float("inf")
    low, high = [*node.args[1:], None, None][:2]
    return float("-inf") if low is None else float(low), float("inf") if high is None else float(high)  # type: ignore[arg-type]  # numbers by aten's schema
