"""Trace: a user's module becomes a flat graph of aten operations that the later steps can read.

`torch.export` runs the module's own Python, so control flow on shapes and settings is fine; in the same go `lowerings`
write out what has no int8 form as a whole.

Legend: x [N, ...] float32 throughout; N is the batch, dynamic unless the module pins it.
"""

import copy
import traceback
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from pipeline.errors import ExportError
from pipeline.quantization.lowerings import LOWERINGS
from pipeline.quiet import quiet

MAX_BATCH = 1024
LIBRARY_FOLDERS = (str(Path(torch.__file__).parent), str(Path(__file__).parent))


def trace(module: nn.Module, example_inputs: tuple[Tensor, ...], *, batch: str = "dynamic") -> fx.GraphModule:
    """Return the module in evaluation mode as a flat graph of functional aten operations, with its own copy of the weights.

    `example_inputs` [N, ...] must hold at least two samples where the batch is dynamic. ExportError names the user's line.
    """
    inputs = tuple(_two_or_more(x) for x in example_inputs) if batch == "dynamic" else example_inputs
    shapes = tuple({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)} for _ in inputs) if batch == "dynamic" else None
    own = copy.deepcopy(module).eval()
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(own, inputs, dynamic_shapes=shapes, strict=False)
            program = program.run_decompositions(LOWERINGS)
            traced = program.module(check_guards=False)
    except Exception as error:  # the user's forward may raise anything
        raise ExportError(_explain(module, error)) from error
    assert isinstance(traced, fx.GraphModule)
    for ban in ("train", "eval"):  # torch.export's: the converters call eval() of a float program too
        traced.__dict__.pop(ban, None)
    return traced


def layer_of(node: fx.Node) -> str:
    """Return the path of the module that a node came from, e.g. "blocks.2.conv"; its own name where there is none."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if path]
    return str(paths[-1]) if paths else node.name


def _two_or_more(x: Tensor) -> Tensor:
    """Repeat a single sample: torch.export takes a size of one for a constant."""
    return x if x.shape[0] > 1 else torch.cat([x, x])


def _explain(module: nn.Module, error: Exception) -> str:
    reason = " ".join(str(error).split("\n\n")[0].split())[:300]
    return (
        f"network {type(module).__name__} can't be traced{_users_line(error)}: {type(error).__name__}: {reason}; "
        "forward() must compute with tensors alone: no branch on a tensor's values, no .item(), no numpy, no batch of fixed size"
    )


def _users_line(error: BaseException) -> str:
    """Return " at file:line in function" of the innermost frame that isn't the library's."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(LIBRARY_FOLDERS)]
    inside = [f for f in frames if f.name not in {"trace", "<module>"} and not f.filename.startswith("<")]
    if not inside:
        return ""
    last = inside[-1]
    return f" at {last.filename.rsplit('/', 1)[-1]}:{last.lineno} in {last.name}"
