"""Annotate: decide which tensor becomes int8, and which tensors share one scale.

A tensor has one scale wherever it is read, so scales belong to tensors here, not to the edges of the graph: each tensor
that an int8 operation makes or takes is put into a class, and operations that only move data (`operations.MOVES`) put
their output into their input's class, so that a whole chain of them has one scale, as LiteRT's kernels demand. torchao
then places one fake-quantiser a class, by the annotations that we write in its own words.

What stays in float is listed by name with the reason, never left out in silence.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from pipeline.quantization.fakequant import ActivationFakeQuantize, FixedFakeQuantize, WeightFakeQuantize
from pipeline.quantization.graph import TRANSPOSED, constant_of
from pipeline.quantization.operations import CLAMPS, COMPUTES, FIXED, FLOAT_IN, JOINS, MOVES, WEIGHTED, Fixed
from pipeline.quantization.ranges import HIGHEST, LOWEST, Method
from pipeline.quantization.rules import Format, Rules
from pipeline.quantization.trace import layer_of

WISHED = "kept in float by float_layers"


@dataclass(frozen=True)
class FloatLayer:
    """A layer that stays in float: in every file, or in those of `formats` alone."""

    name: str
    operation: str
    reason: str
    formats: tuple[Format, ...]
    wished: bool = False


@dataclass
class Plan:
    """What became of each node: the int8 ones, the float ones with their reason, and the class of each int8 tensor."""

    graph_module: fx.GraphModule
    rules: Rules
    parents: dict[fx.Node, fx.Node] = field(default_factory=dict)
    int8: set[fx.Node] = field(default_factory=set)
    float_layers: list[FloatLayer] = field(default_factory=list)

    def root(self, node: fx.Node) -> fx.Node:
        """Return what stands for the class of a tensor."""
        while self.parents.setdefault(node, node) is not node:
            node = self.parents[node]
        return node

    def join(self, node: fx.Node, other: fx.Node) -> None:
        """Put two tensors into one class."""
        self.parents[self.root(node)] = self.root(other)

    def fixed(self, node: fx.Node) -> Fixed | None:
        """Return the scale that the class of a tensor is bound to."""
        return FIXED.get(self.root(node).target) if self.root(node) in self.int8 else None


class TargetQuantizer(Quantizer):  # type: ignore[misc]  # torchao is untyped
    """torchao's Quantizer by a target's rules; `float_layers` is filled by `annotate`."""

    def __init__(self, rules: Rules, *, method: Method = "moving") -> None:
        super().__init__()
        self.rules = rules
        self.method = method
        self.float_layers: tuple[FloatLayer, ...] = ()

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Write torchao's annotations onto the nodes."""
        plan = plan_int8(model, self.rules)
        self.float_layers = tuple(plan.float_layers)
        first: dict[Any, Any] = {}
        for node in model.graph.nodes:
            inputs = (
                {x: self._spec(plan, x, (x, node), first) for x in _int8_inputs(plan, node)}
                if node in plan.int8
                else {}
            )
            output = self._spec(plan, node, node, first) if _has_output_scale(plan, node) else None
            if inputs or output is not None:
                node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
                    input_qspec_map=inputs, output_qspec=output, allow_implicit_sharing=False, _annotated=True
                )
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing to check: `plan_int8` leaves in float what it can't do."""

    def _spec(self, plan: Plan, tensor: fx.Node, place: Any, first: dict[Any, Any]) -> Any:
        """Return a new spec for the first place of a class, and a shared one for the others."""
        reader = place[1] if isinstance(place, tuple) else None
        member = reader if reader is not None and _is_requantised(plan, tensor, reader) else tensor
        key = (plan.root(member), _channel_axis(tensor, reader))
        if key in first:
            return SharedQuantizationSpec(first[key])
        first[key] = place
        return self._new_spec(plan, member, reader)

    def _new_spec(self, plan: Plan, tensor: fx.Node, reader: fx.Node | None) -> Any:
        fixed = plan.fixed(tensor)
        if constant_of(plan.graph_module, tensor) is not None:
            axis = _channel_axis(tensor, reader)
            limit = self.rules.weight_limit if axis is not None else HIGHEST
            scheme = torch.per_tensor_symmetric if axis is None else torch.per_channel_symmetric
            maker = WeightFakeQuantize.with_args(limit=limit, channel_axis=axis)
            return QuantizationSpec(
                dtype=torch.int8, observer_or_fake_quant_ctr=maker, quant_min=-limit, quant_max=limit, qscheme=scheme
            )
        maker = ActivationFakeQuantize.with_args(method=self.method)
        if fixed is not None:
            maker = FixedFakeQuantize.with_args(fixed_scale=fixed.scale, fixed_zero_point=fixed.zero_point)
        scheme = torch.per_tensor_affine
        return QuantizationSpec(
            dtype=torch.int8, observer_or_fake_quant_ctr=maker, quant_min=LOWEST, quant_max=HIGHEST, qscheme=scheme
        )


def plan_int8(graph_module: fx.GraphModule, rules: Rules) -> Plan:
    """Decide for every node whether it is int8, and join the classes of tensors that share a scale."""
    plan = Plan(graph_module=graph_module, rules=rules)
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and _is_float_tensor(node):
            reason = _why_float(plan, node)
            if reason is None:
                plan.int8.add(node)
            elif reason:
                wished = reason.startswith(WISHED)
                plan.float_layers.append(FloatLayer(layer_of(node), _name(node), reason, rules.formats, wished))
    for node in plan.int8:
        lacking = tuple(name for name in FLOAT_IN.get(node.target, ()) if name in rules.formats)
        if lacking:
            plan.float_layers.append(
                FloatLayer(layer_of(node), _name(node), f"no int8 kernel in {', '.join(lacking)}", lacking)
            )
    for node in graph_module.graph.nodes:
        if node in plan.int8 and node.target in MOVES:
            _join_moved(plan, node)
    return plan


def _why_float(plan: Plan, node: fx.Node) -> str | None:
    """Return why a node stays in float; "" where it only follows its float input; None where it becomes int8."""
    layer = layer_of(node)
    wished = next((name for name in plan.rules.float_layers if layer == name or layer.startswith(f"{name}.")), None)
    if wished is not None:
        return f"{WISHED} = [{wished!r}]"
    if node.target in MOVES or node.target in CLAMPS:
        return None if any(_can_be_int8(plan, x) for x in _tensor_inputs(node)) else ""
    if node.target not in WEIGHTED | COMPUTES and node.target not in FIXED:
        return "no int8 form"
    if node.target is torch.ops.aten.adaptive_avg_pool2d.default and list(node.args[1]) != [1, 1]:  # type: ignore[arg-type]  # a list by aten's schema
        return "its windows differ in size"
    if node.target in WEIGHTED and constant_of(plan.graph_module, node.args[1]) is None:
        return "its weight is computed from the input"
    return None


def _can_be_int8(plan: Plan, x: fx.Node) -> bool:
    return x.op == "placeholder" or x in plan.int8


def _is_float_tensor(node: fx.Node) -> bool:
    val = node.meta.get("val")
    val = val[0] if isinstance(val, list | tuple) and val else val
    return isinstance(val, torch.Tensor) and val.dtype is torch.float32


def _tensor_inputs(node: fx.Node) -> list[fx.Node]:
    return [x for x in node.all_input_nodes if _is_float_tensor(x)]


def _int8_inputs(plan: Plan, node: fx.Node) -> list[fx.Node]:
    """Return the inputs that an int8 node takes as int8: all but a bias, and what a fused clamp gets from its producer."""
    inputs = _tensor_inputs(node)
    if node.target in WEIGHTED:
        inputs = [x for x in inputs if x is node.args[0] or x is node.args[1]]
    return [x for x in inputs if not (isinstance(x.meta["val"], list | tuple) or _fused_clamp(plan, x) is node)]


def _fused_clamp(plan: Plan, node: fx.Node) -> fx.Node | None:
    """Return the clamp that a node's output goes through, where nothing else reads it."""
    users = list(node.users)
    computes = node in plan.int8 and node.target in WEIGHTED | COMPUTES
    return users[0] if computes and len(users) == 1 and users[0].target in CLAMPS and users[0] in plan.int8 else None


def _has_output_scale(plan: Plan, node: fx.Node) -> bool:
    if not _is_float_tensor(node) or isinstance(node.meta["val"], list | tuple):
        return False
    if node.op == "placeholder":
        return any(user in plan.int8 for user in node.users)
    return node in plan.int8 and _fused_clamp(plan, node) is None


def _join_moved(plan: Plan, node: fx.Node) -> None:
    inputs = _tensor_inputs(node)
    for x in inputs:
        if constant_of(plan.graph_module, x) is None and not (node.target in JOINS and plan.fixed(x) is not None):
            plan.join(node, x)


def _is_requantised(plan: Plan, tensor: fx.Node, reader: fx.Node) -> bool:
    """Tell whether a joining node takes a tensor of a bound scale (or a constant), which must change to the join's own."""
    return reader.target in JOINS and plan.root(tensor) is not plan.root(reader)


def _channel_axis(tensor: fx.Node, reader: fx.Node | None) -> int | None:
    """Return the axis of a weight's output channels, or None for any other tensor."""
    if reader is None or reader.target not in WEIGHTED or reader.args[1] is not tensor:
        return None
    return 1 if reader.target in TRANSPOSED else 0


def _name(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").split(".")[0]
