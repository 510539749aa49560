"""outputs: what a model answers on one split, computed once.

The model is a network, a quantised one, an ONNX or a TFLite file. Of the training split a teacher's answers are what a student
learns from, one set for each view of the data (see `pipeline.batches`); of the test split they are what the report judges.
Files run on their own runtimes, `pipeline.file_networks`; what a teacher's answers mean: `pipeline.meaning`.
How they lie on disk: `pipeline.recorded_outputs`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field
from torch import nn

from pipeline.architecture import load_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import Batch, answer, split_batches, views_of
from pipeline.file_networks import file_network
from pipeline.meaning import Meaning
from pipeline.recorded_outputs import create_outputs
from pipeline.reproducible import conditions
from pipeline.stage import Context, Progress, Stage, StageConfig
from pipeline.task import LoadedTask


class OutputsConfig(StageConfig):
    """`views` counts for the training split alone: the others are shown as they are.

    `teacher` names the one whose `inputs` turn the data into its own; `answers`, `outputs` and `classes` are the teacher's
    (`pipeline.teacher`), `class_count` how many classes the task has.
    """

    split: Literal["train", "validation", "test"] = "test"
    views: int = Field(default=1, ge=1)
    batch_size: int = Field(default=250, ge=1)
    teacher: str = ""
    answers: tuple[str, ...] = ()
    outputs: tuple[str | int, ...] = ()
    classes: tuple[int, ...] = ()
    class_count: int = 0


def run(inputs: Mapping[str, Artifact], config: OutputsConfig, context: Context) -> Facts:
    """Write what `model` answers on the split."""
    task, model = context.task, inputs["model"]
    views = range(views_of(task, config.views)) if config.split == "train" else (None,)
    total = len(views) * len(task.splits[config.split])
    files: list[Any] = []
    with conditions(threads=1, deterministic=True, accelerator="cpu"):
        module, ports = _module(model, task)
        meaning = Meaning(config.answers, config.outputs, config.classes, config.class_count, who=config.teacher)
        for number, view in enumerate(views):
            done = 0
            batches = split_batches(task, config.split, batch_size=config.batch_size, view=view, seed=context.seed)
            for batch, outputs in answer(module, _heard(batches, config.teacher, task)):
                arrays = meaning.recorded(outputs, getattr(module, "outputs", ()))
                shapes = [(len(views), len(task.splits[config.split]), *array.shape[1:]) for array in arrays]
                files = files or create_outputs(context.out, shapes)
                for file, array in zip(files, arrays, strict=True):
                    file[number, done : done + len(array)] = array
                done += len(batch.index)
                context.progress(Progress(number * len(task.splits[config.split]) + done, total, {}))
    for file in files:
        file.flush()
    return {
        "split": config.split,
        "views": len(views),
        "seed": context.seed,
        "shapes": [list(file.shape) for file in files],
        "ports": ports,
        **meaning.facts(len(files)),
    }


def _heard(batches: Iterable[Batch], teacher: str, task: LoadedTask) -> Iterator[Batch]:
    """Give the batches as a teacher takes them."""
    return (replace(batch, inputs=task.heard(teacher, batch.inputs)) for batch in batches)


def _module(model: Artifact, task: LoadedTask) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Return a model of any kind as something to call, and what a file says about its outputs."""
    if model.kind in ("onnx", "tflite", "keras"):
        network = file_network(model)
        ports = network.opened.outputs
        return network, [{"dtype": port.dtype, "scale": port.scale, "zero_point": port.zero_point} for port in ports]
    if model.kind == "network":
        return load_network(model, task), []
    # Loaded here: a float network doesn't need the quantiser.
    from pipeline.quantization.source import program_of  # noqa: PLC0415

    program, _, _ = program_of(model, task)
    return program, []


STAGE = Stage(
    name="outputs",
    version=2,
    config=OutputsConfig,
    takes=("model",),
    gives="outputs",
    reads=("data.{split}", "augment", "collate", "inputs:{teacher}"),
    libraries=("torch", "onnxruntime", "ai-edge-litert"),
    run=run,
)
