"""All ways to train that the recipe doesn't take, one epoch each on small tasks: does each run on the accelerator?"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.artifact import Artifact
from pipeline.errors import EdgepressError
from pipeline.task import LoadedTask, Metric
from pipeline.teacher import Teacher
from tests.evidence.cuda.chain import made
from tests.small_task import Bars, bars
from tests.small_text import Sentences

EPOCH = {"epochs": 1, "batch_size": 16}
LOSSES = ("decoupled", "mean_square", "relational", "hints", "attention_transfer")
WEIGHTINGS = ("confidence", "entropy", "agreement", "learned")
PRECISIONS = ("bf16-mixed", "16-mixed")
Try = Callable[[Path], object]


class TaughtSentences(Sentences):
    """Texts with a teacher, so that attention relations have two networks."""

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(self.student)}


class Recurrent(nn.Module):
    """A GRU whose first state the traced graph makes itself, and a softmax in float32 whatever the precision."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 8, batch_first=True)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.softmax(self.gru(x.squeeze(1))[0][:, -1].float(), 1))
        return logits


class RecurrentBars(Bars):
    """The bars, line after line."""

    def student(self) -> nn.Module:
        return Recurrent()


class SpelledBars(Bars):
    """The bars, judged by CTC, whose gradient has no deterministic form on CUDA."""

    metric = Metric("accuracy")

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        likely = torch.log_softmax(output, 1)[None].expand(3, -1, -1)
        ones = torch.ones(len(output), dtype=torch.long)
        return nn.functional.ctc_loss(likely, target[:, None].clamp_min(1), 3 * ones, ones)


def variants(accelerator: str, folder: Path) -> dict[str, str]:
    """Return for each way "trained", or the error that it ended with."""
    on = {**EPOCH, "accelerator": accelerator}
    found = {}
    for name, attempt in _tries(on):
        try:
            attempt(folder / name.replace(" ", "-"))
            found[name] = "trained"
        except EdgepressError as error:
            found[name] = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001  # what this looks for; it is printed, and the study then fails
            found[name] = f"BROKE: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        print(f"{name}: {found[name]}", flush=True)
    return found


def _tries(on: Mapping[str, Any]) -> Iterator[tuple[str, Try]]:
    pictures, texts = bars(), LoadedTask(raw=TaughtSentences(), root=Path.cwd())
    lines = LoadedTask(raw=RecurrentBars(), root=Path.cwd())
    for loss in LOSSES:
        yield f"distill by {loss}", _taught(pictures, {**on, "losses": {loss: 1.0}})
    for rule in WEIGHTINGS:
        yield f"distill weighted by {rule}", _taught(pictures, {**on, "weighting": rule}, ("wide", "wider"))
    yield "distill two peers", _taught(pictures, {**on, "peers": 1})
    yield "distill without labels", _taught(bars(labelled=False), on, train_teachers=False)
    yield "distill by sgd", _taught(pictures, {**on, "optimizer": "sgd"})
    yield "distill texts by attention_relations", _taught(texts, {**on, "losses": {"attention_relations": 1.0}})
    yield "prune in two cuts", _later(pictures, "prune", {**on, "epochs": 4, "cuts": 2, "channel_multiple": 4})
    text_cut = {**on, "trim_vocabulary": True, "drop_layers": 1, "largest_drop": 0.9}
    yield "prune texts", _later(texts, "prune", text_cut)
    for precision in ("32-true", *PRECISIONS):
        for name, task in (("pictures", pictures), ("texts", texts), ("a GRU", lines)):
            yield f"quantize {name} at {precision}", _later(task, "quantize", {**on, "precision": precision})
    yield (
        "a loss without a deterministic gradient",
        _taught(LoadedTask(raw=SpelledBars(), root=Path.cwd()), on, teachers=()),
    )


def _taught(
    task: LoadedTask,
    settings: Mapping[str, Any],
    teachers: tuple[str, ...] = ("wide",),
    *,
    train_teachers: bool = True,
) -> Try:
    def attempt(folder: Path) -> object:
        inputs: dict[str, Artifact] = {}
        for name in teachers:
            plain = {key: settings[key] for key in ("accelerator", "batch_size")}
            own = bars() if not train_teachers else task
            taught = made("teach", {}, {**plain, "epochs": 1, "teacher": name}, task=own, folder=folder / name)
            inputs[f"teacher:{name}"] = taught
            for kind, split, views in (("teacher_outputs", "train", 4), ("teacher_validation", "validation", 1)):
                recorded = {"split": split, "views": views}
                where = folder / name / split
                inputs[f"{kind}:{name}"] = made("outputs", {"model": taught}, recorded, task=task, folder=where)
        return made("distill", inputs, settings, task=task, folder=folder)

    return attempt


def _later(task: LoadedTask, stage: str, settings: Mapping[str, Any]) -> Try:
    def attempt(folder: Path) -> object:
        plain = {key: settings[key] for key in ("accelerator", "batch_size")}
        student = made("distill", {}, {**plain, "epochs": 1}, task=task, folder=folder)
        return made(stage, {"network": student}, settings, task=task, folder=folder)

    return attempt
