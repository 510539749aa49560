"""outputs: what a model answers on one split, computed once.

The model is a network, a quantised one, an ONNX or a TFLite file. Of the training split a teacher's answers are what a student
learns from, one set for each view of the data (see `pipeline.batches`); of the test split they are what the report judges.
Files run on their own runtimes, `pipeline.file_networks`; what a teacher's answers mean: `pipeline.meaning`.
How they lie on disk: `pipeline.recorded_outputs`, and how they get there: `pipeline.recording`.
"""

import math
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
from pipeline.recording import Recording
from pipeline.reproducible import conditions
from pipeline.stage import Context, Progress, Stage, StageConfig
from pipeline.task import LoadedTask


class OutputsConfig(StageConfig):
    """`views` counts for the training split alone: the others are shown as they are.

    `teacher` names the one whose `inputs` turn the data into its own; `answers`, `outputs` and `classes` are the teacher's
    (`pipeline.teacher`), `class_count` how many classes the task has. `top_k` keeps so many classes a sample (0: all),
    `max_gib` is the most that may be written.
    """

    split: Literal["train", "validation", "test"] = "test"
    views: int = Field(default=1, ge=1)
    batch_size: int = Field(default=250, ge=1)
    teacher: str = ""
    answers: tuple[str, ...] = ()
    outputs: tuple[str | int, ...] = ()
    classes: tuple[int, ...] = ()
    class_count: int = 0
    top_k: int = Field(default=0, ge=0)
    max_gib: float = Field(default=16, gt=0)


def run(inputs: Mapping[str, Artifact], config: OutputsConfig, context: Context) -> Facts:
    """Write what `model` answers on the split; a run that was killed goes on where it was."""
    task, model = context.task, inputs["model"]
    views = range(views_of(task, config.views)) if config.split == "train" else (None,)
    samples = len(task.splits[config.split])
    recording = Recording(context.scratch, views=len(views), samples=samples, k=config.top_k, max_gib=config.max_gib)
    with conditions(threads=1, deterministic=True, accelerator="cpu"):
        module, ports = _module(model, task)
        meaning = Meaning(config.answers, config.outputs, config.classes, config.class_count, who=config.teacher)
        each = math.ceil(samples / config.batch_size)
        for number, view in enumerate(views):
            start = min(max(0, recording.done - number * each), each)
            batches = split_batches(
                task, config.split, batch_size=config.batch_size, view=view, seed=context.seed, start=start
            )
            for batch, outputs in answer(module, _heard(batches, config.teacher, task)):
                first = int(batch.index[0])
                recording.add(number, first, meaning.recorded(outputs, getattr(module, "outputs", ())))
                done = number * samples + first + len(batch.index)
                context.progress(Progress(done, len(views) * samples, {}))
    recording.finish(context.out)
    return {
        "split": config.split,
        "views": len(views),
        "seed": context.seed,
        "shapes": [list(shape) for shape in recording.shapes],
        "ports": ports,
        **({"top_k": config.top_k} if config.top_k else {}),
        **meaning.facts(len(recording.shapes)),
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
    version=3,
    config=OutputsConfig,
    takes=("model",),
    gives="outputs",
    reads=("data.{split}", "augment", "collate", "inputs:{teacher}"),
    libraries=("torch", "onnxruntime", "ai-edge-litert"),
    run=run,
)
