"""teach: train a teacher on the task's own data, or take the weights that its user trained.

A teacher that others teach (`taught_by`) learns from them first, as a student does.

Weights come as safetensors, or as a state dict that torch.save wrote; the latter is read with `weights_only`, so that a
hostile pickle is refused, not run.
"""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.architecture import load_network, macs_of, parameters_of, save_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import evaluate
from pipeline.distillation.hearing import hearing
from pipeline.distillation.supervision import TAKES, SupervisionConfig, supervise
from pipeline.errors import TaskError, one_line
from pipeline.stage import Context, Progress, Stage
from pipeline.training import TrainingConfig, train

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep a state dict within a checkpoint."""


class TeachConfig(TrainingConfig, SupervisionConfig):
    """`teacher` is its name in the task's `teachers()`; each epoch shows every sample in a new view.

    A teacher that is taught by others has as many `views` as there are records of what those say, at least 1.
    """

    teacher: str
    views: int = 0
    epochs: int = 12


def run(inputs: Mapping[str, Artifact], config: TeachConfig, context: Context) -> Facts:
    """Give the trained teacher."""
    task = context.task
    module = hearing(task.teacher(config.teacher), config.teacher, task)
    weights = task.teachers()[config.teacher].weights
    said = (
        _trained(module, inputs, config, context)
        if weights is None
        else _loaded(module, weights, config.teacher, context)
    )
    save_network(module, context.out, constructor=f"teacher:{config.teacher}", fresh=task.teacher(config.teacher))
    return {
        "teacher": config.teacher,
        "parameters": parameters_of(module),
        "macs": macs_of(module, task.example()),
        **said,
    }


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file or of a saved state dict; TaskError when it is neither, or hostile."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_compressed(path)
        with warnings.catch_warnings():
            # A pickle of another protocol: if it is a plain state dict it loads, else it is refused below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, UnpicklingError, SafetensorError) as error:
        raise TaskError(
            f"teacher weights {path}: no safetensors file and no plain state dict ({one_line(error)[:150]}); "
            "save them with safetensors.torch.save_file(model.state_dict(), ...)"
        ) from error
    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise TaskError(
            f"teacher weights {path}: a {type(found).__name__} that is no state dict; save model.state_dict()"
        )
    return {str(name).removeprefix("module."): value for name, value in found.items()}  # DataParallel's prefix


def _trained(module: nn.Module, inputs: Mapping[str, Artifact], config: TeachConfig, context: Context) -> Facts:
    """Train a teacher, by labels and by what its own teachers say."""
    with supervise(module, inputs, config, context=context, views=config.views, load=load_network) as supervision:
        return train(
            module,
            supervision.loss,
            config,
            task=context.task,
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            evaluate=supervision.evaluate,
            extra=supervision.extra,
            stage=f"teach {config.teacher}",
        ).facts()


def _loaded(module: nn.Module, path: Path, name: str, context: Context) -> Facts:
    weights, own = read_weights(path), module.state_dict()
    for key in [*own, *weights]:
        found = tuple(weights[key].shape) if key in weights else "missing"
        wanted = tuple(own[key].shape) if key in own else "missing"
        if found != wanted:
            raise TaskError(
                f"teacher {name!r}: {path.name} is of another architecture: {key!r} is {found} in the file and {wanted} in "
                "the network; give the file that belongs to the network in teachers(), or the network of the file"
            )
    module.load_state_dict(weights)
    module.eval()
    context.progress(Progress(done=1, total=1, says={}))
    labelled = context.task.targets("validation") is not None
    return {"validation_score": evaluate(module, context.task).score} if labelled else {}


def _refuse_compressed(path: Path) -> None:
    """torch.save stores its records as they are: a compressed one could fill the memory out of a small file."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it holds compressed records, which torch.save never writes")


STAGE = Stage(
    name="teach",
    version=2,
    config=TeachConfig,
    takes=TAKES,
    gives="network",
    reads=("data.train", "data.validation", "teacher:{teacher}", "loss", "score", "augment", "collate"),
    libraries=("torch", "lightning-fabric"),
    run=run,
)
