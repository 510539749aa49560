"""Freeze: from a float module to a program whose int8 numbers are fixed, and back from what was saved.

    prepared = prepare(module, example_inputs, rules)      # fake-quantised, trainable
    calibrate(prepared, batches)                           # ranges only
    freeze_ranges(prepared)                                # for the last epochs of training
    save_quantized(prepared, folder)                       # weights, ranges, rules: no pickle
    frozen = freeze(prepared)                              # quantize / dequantize ops with constant scales

The frozen program answers exactly as the prepared one. It is never saved: `load_quantized` traces the float module again,
folds it, prepares it, and loads what was trained, which gives the same program, and the same bytes in the files.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, fx, nn

from pipeline.errors import ExportError, ModelError, did_you_mean
from pipeline.quantization.fold import fold
from pipeline.quantization.graph import add_constant, calls, constant_of, delete_unread, replace
from pipeline.quantization.masks import raise_masks
from pipeline.quantization.operations import WEIGHTED
from pipeline.quantization.program import drop_clamps_that_saturation_does, shield_float_layers
from pipeline.quantization.ranges import METHODS, Method
from pipeline.quantization.rules import Rules
from pipeline.quantization.trace import layer_of, trace
from pipeline.quiet import copied, quiet

if TYPE_CHECKING:
    from pipeline.quantization.annotate import FloatLayer
    from pipeline.quantization.fakequant import Phase

WEIGHTS, DESCRIPTION = "quantized.safetensors", "quantization.json"
MAX_DESCRIPTION_BYTES = 16 * 2**20
aten = torch.ops.aten
RECURRENT = {aten.gru.input, aten.lstm.input, aten.rnn_tanh.input, aten.rnn_relu.input}
"""Their arguments 5 and 6 are dropout between layers, which a traced network doesn't do, and training mode."""


class Prepared(nn.Module):
    """A traced network with fake quantisation: call it, train it, calibrate it."""

    def __init__(
        self,
        graph: fx.GraphModule,
        rules: Rules,
        *,
        method: Method,
        float_layers: "tuple[FloatLayer, ...]",
        example_inputs: tuple[Tensor, ...],
    ) -> None:
        super().__init__()
        self.graph = graph
        self.rules = rules
        self.method = method
        self.float_layers = float_layers
        self.example_inputs = example_inputs

    def forward(self, *inputs: Tensor) -> Any:
        """Answer as the int8 files will."""
        for quantizer in self.quantizers():
            quantizer.watched = False
        return self.graph(*inputs)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  # nn.Module's own signature
        """Switch training on or off: ranges follow the network in training alone."""
        self.training = mode
        for quantizer in self.quantizers():
            quantizer.training = mode
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Self:  # noqa: FBT001, FBT002  # nn.Module's own signature
        """Move, as `to()` does, with what the graph makes itself: torch.export wrote the traced device into it."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        place = next((value.device for value in self.parameters()), torch.device("cpu"))
        for node in self.graph.graph.nodes:
            if "device" in node.kwargs:
                node.kwargs = {**node.kwargs, "device": place}
            if node.target in RECURRENT:  # cuDNN keeps what a gradient needs in training mode alone
                node.args = (*node.args[:6], place.type != "cpu", *node.args[7:])
        self.graph.recompile()
        return self

    def quantizers(self) -> list[Any]:
        """Return the fake-quantisers, each once."""
        return [module for module in self.graph.modules() if hasattr(module, "phase")]

    def set_phase(self, phase: "Phase") -> None:
        """Set what the fake-quantisers do: see `fakequant.Phase`."""
        for quantizer in self.quantizers():
            quantizer.phase = phase


def prepare(
    module: nn.Module, example_inputs: tuple[Tensor, ...], rules: Rules, *, ranges: Method = "moving"
) -> Prepared:
    """Trace, fold and annotate a float module; the batch stays dynamic. Calibrate what it gives before anything else."""
    with quiet():  # torchao logs about its own internals when it is loaded
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e  # noqa: PLC0415  # seconds to import

        from pipeline.quantization.annotate import TargetQuantizer  # noqa: PLC0415  # as above

    _know_layers(module, rules)
    graph = fold(raise_masks(_for_training(trace(module, example_inputs))))
    quantizer = TargetQuantizer(rules, method=ranges)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao warns of its own deprecated internals
        graph = prepare_qat_pt2e(graph, quantizer)
    _keep_promise(rules, quantizer.float_layers)
    _round_biases(graph)
    _allow_train_and_eval(graph)
    prepared = Prepared(graph, rules, method=ranges, float_layers=quantizer.float_layers, example_inputs=example_inputs)
    prepared.set_phase("calibrate")
    return prepared


def calibrate(prepared: Prepared, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Find the ranges from batches of inputs; afterwards the network rounds, and moving ranges follow it in training."""
    prepared.set_phase("calibrate")
    with torch.no_grad():
        for batch in batches:
            prepared(*batch)
    _refuse_infinite_ranges(prepared)
    prepared.set_phase("follow" if prepared.method == "moving" else "frozen")


def freeze_ranges(prepared: Prepared) -> None:
    """Keep the ranges as they are from now on, but for the hair by which both runtimes come to agree."""
    from pipeline.quantization.agree import agree  # noqa: PLC0415  # torchao takes seconds to import

    prepared.set_phase("frozen")
    _renew_weight_scales(prepared)
    _refuse_infinite_ranges(prepared)
    agree(prepared.graph)


def freeze(prepared: Prepared) -> fx.GraphModule:
    """Return the program with constant scales, as quantize and dequantize ops; `prepared` stays as it is.

    Where the ranges still follow the network they are frozen in the copy.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e  # noqa: PLC0415  # torchao takes seconds to import

    own = copied(prepared).eval()
    if any(quantizer.phase != "frozen" for quantizer in own.quantizers()):
        freeze_ranges(own)
    _renew_weight_scales(own)
    _keep_rounded_biases(own.graph)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torchao warns of its own deprecated internals
        frozen: fx.GraphModule = convert_pt2e(own.graph, fold_quantize=False)
    _allow_train_and_eval(frozen)
    delete_unread(frozen)
    drop_clamps_that_saturation_does(frozen)
    shield_float_layers(frozen)
    for parameter in frozen.parameters():
        parameter.requires_grad = False
    return frozen


def _refuse_infinite_ranges(prepared: Prepared) -> None:
    """Raise ExportError where a tensor has values that no scale reaches."""
    for node in prepared.graph.graph.nodes:
        quantizer = prepared.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not torch.isfinite(getattr(quantizer, "scale", torch.ones(()))).all():
            raise ExportError(
                f"int8 has no scale for {layer_of(node.args[0])!r} ({node.args[0].name}): its values are not all finite; "
                "hide by -24 where a mask hides by minus infinity, or name the layer in float_layers"
            )


def save_quantized(prepared: Prepared, folder: Path) -> None:
    """Write weights after folding, ranges and rules beside the float network's files."""
    from safetensors.torch import save_file  # noqa: PLC0415  # only where something is saved

    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in _state(prepared).items()}
    save_file(tensors, folder / WEIGHTS)
    description = {
        "schema": 1,
        "rules": prepared.rules.model_dump(mode="json"),
        "ranges": prepared.method,
        "graph": graph_digest(prepared.graph),
        "float_layers": [
            {"name": f.name, "operation": f.operation, "reason": f.reason, "formats": list(f.formats)}
            for f in prepared.float_layers
        ],
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load_quantized(folder: Path, module: nn.Module, example_inputs: tuple[Tensor, ...]) -> Prepared:
    """Build the prepared network again from its float module and what was saved; ModelError where they don't belong together."""
    from safetensors import SafetensorError  # noqa: PLC0415  # only where something is loaded
    from safetensors.torch import load_file  # noqa: PLC0415  # as above

    description = _read_description(folder / DESCRIPTION)
    prepared = prepare(module, example_inputs, Rules.model_validate(description["rules"]), ranges=description["ranges"])
    if graph_digest(prepared.graph) != description["graph"]:
        raise ModelError(
            f"{folder} was quantised from another network, or by another version of torch; run the quantize stage again"
        )
    try:
        state = load_file(folder / WEIGHTS)
        expected = _state(prepared)
        if state.keys() != expected.keys() or any(state[name].shape != expected[name].shape for name in state):
            raise ModelError(f"{folder / WEIGHTS} does not hold this network's tensors; run the quantize stage again")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / WEIGHTS} can't be read ({error}); run the quantize stage again") from error
    with torch.no_grad():
        for name, tensor in state.items():
            expected[name].copy_(tensor)
    prepared.set_phase("frozen")
    return prepared.eval()


def graph_digest(graph: fx.GraphModule) -> str:
    """Return the sha256 over a graph's operations and their arguments: what a network computes, without its weights."""
    lines = [f"{node.op} {node.name} {node.target} {node.args} {node.kwargs}" for node in graph.graph.nodes]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _know_layers(module: nn.Module, rules: Rules) -> None:
    """Raise ExportError where `float_layers` names a layer that the network doesn't have."""
    known = [name for name, _ in module.named_modules() if name]
    for wished in rules.float_layers:
        if wished not in known:
            shown = ", ".join(known[:20])
            raise ExportError(
                f"float_layers: no layer {wished!r} in {type(module).__name__}{did_you_mean(wished, known)}; it has {shown}"
            )


def _for_training(graph: fx.GraphModule) -> fx.GraphModule:
    """Drop torch.export's assertions of the traced device and precision, as training may have others, and dropout that never acts."""
    for node in calls(graph, RECURRENT):
        node.args = (*node.args[:5], 0.0, *node.args[6:])
    for node in calls(graph, {aten._assert_tensor_metadata.default}):  # noqa: SLF001  # its only name
        graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _keep_promise(rules: Rules, float_layers: "tuple[FloatLayer, ...]") -> None:
    """Raise ExportError where the rules want every operation in int8 and one has no such form."""
    found = [layer for layer in float_layers if not layer.wished]
    if rules.whole_int8 and found:
        names = ", ".join(f"{layer.name} ({layer.operation}: {layer.reason})" for layer in found[:5])
        raise ExportError(
            f"the target computes in int8 alone, and {len(found)} operations have no int8 form: {names}; use others, or keep "
            f"them in float with float_layers = {json.dumps(sorted({layer.name for layer in found}))} and whole_int8 = false"
        )


def _state(prepared: Prepared) -> dict[str, Tensor]:
    """Return every tensor that training or calibration may change, each once."""
    tensors: dict[str, Tensor] = dict(prepared.graph.named_parameters())
    tensors |= {
        name: buffer for name, buffer in prepared.graph.named_buffers() if not name.endswith(("_enabled", ".eps"))
    }
    return tensors


def _read_description(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise ModelError(f"{path} is larger than {MAX_DESCRIPTION_BYTES} bytes; run the quantize stage again")
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        Rules.model_validate(description["rules"])
        if description["ranges"] not in METHODS:
            raise ModelError(f"{path} has ranges {str(description['ranges'])[:40]!r}; known: {', '.join(METHODS)}")
        if description["schema"] != 1 or not isinstance(description["graph"], str):
            raise ModelError(f"{path} has schema {description['schema']!r}; known: 1; run the quantize stage again")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{path} can't be read ({' '.join(str(error).split())[:200]}); run the quantize stage again"
        ) from error
    return description


def _allow_train_and_eval(graph: fx.GraphModule) -> None:
    """Take back torchao's ban on train() and eval(): nothing in a folded graph behaves differently in training."""
    for name in ("train", "eval"):
        graph.__dict__.pop(name, None)


def _round_biases(graph: fx.GraphModule) -> None:
    """Put a bias quantiser between each bias and its layer, where the layer's input and weight have scales."""
    from pipeline.quantization.fakequant import BiasFakeQuantize  # noqa: PLC0415  # torchao takes seconds to import

    for node in calls(graph, WEIGHTED):
        bias = node.args[2] if len(node.args) > 2 else None
        sources = [
            graph.get_submodule(str(x.target))
            for x in node.args[:2]
            if isinstance(x, fx.Node) and x.op == "call_module"
        ]
        if len(sources) < 2 or constant_of(graph, bias) is None:
            continue
        name = f"bias_{node.name}"
        graph.add_module(name, BiasFakeQuantize(sources[0], sources[1]))  # type: ignore[arg-type]  # quantisers by `annotate`
        with graph.graph.inserting_before(node):
            rounded = graph.graph.call_module(name, (bias,))
        node.args = (*node.args[:2], rounded, *node.args[3:])
    graph.recompile()


def _keep_rounded_biases(graph: fx.GraphModule) -> None:
    """Replace each bias quantiser by what it gives."""
    from pipeline.quantization.fakequant import BiasFakeQuantize  # noqa: PLC0415  # torchao takes seconds to import

    for node in list(graph.graph.nodes):
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, BiasFakeQuantize):
            bias = constant_of(graph, node.args[0])
            assert bias is not None
            with torch.no_grad():
                replace(node, add_constant(graph, str(node.args[0].target), module(bias), before=node))
    graph.recompile()


def _renew_weight_scales(prepared: Prepared) -> None:
    """Let each weight's fake-quantiser see the weight as it is now."""
    with torch.no_grad():
        for node in prepared.graph.graph.nodes:
            weight = constant_of(prepared.graph, node.args[0]) if node.op == "call_module" else None
            if weight is not None and not str(node.target).startswith("bias_"):
                prepared.graph.get_submodule(str(node.target))(weight)
