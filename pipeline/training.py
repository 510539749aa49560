"""The one training loop, on Lightning Fabric, so that precision and accelerator are settings.

What is special: a run that is killed at any moment, and started again with the same call, ends with the same bytes as one that
was never interrupted. For that the batches, the learning rate and the random state of a step follow from its number alone, and a
checkpoint (`pipeline.checkpoint`) holds the rest. The network ends with the weights of its best epoch on the validation split.

Schedules: "one_cycle" is Smith and Topin 2019, https://arxiv.org/abs/1708.07120, with cosine halves; "cosine" is
Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts; "adamw" is Loshchilov and Hutter 2019,
https://arxiv.org/abs/1711.05101. Weight decay spares biases and norms (He et al. 2019,
https://arxiv.org/abs/1812.01187, section 3.1).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.batches import (
    Batch,
    Evaluation,
    derive,
    on_device,
    one_or_all,
    steps_an_epoch,
    training_batches,
)
from pipeline.batches import evaluate as evaluate_by_task
from pipeline.checkpoint import read_checkpoint, write_checkpoint
from pipeline.errors import TrainingError
from pipeline.fingerprint import text_fingerprint
from pipeline.layout import lay_out, takes_channels_last
from pipeline.ranks import agreed, average, average_gradients, open_fabric, share, take_over
from pipeline.reproducible import conditions, determinism_explained, interrupts_between_steps
from pipeline.stage import Progress, ReportProgress, StageConfig
from pipeline.task import LoadedTask, as_arguments

LossOfBatch = Callable[[Any, Batch], Tensor]
"""From the network's output (a tuple where it has several) and the batch to one number."""
Evaluate = Callable[[nn.Module], Evaluation]
OnStep = Callable[[int, int], None]
"""Called before each step with its number and the total; after a restart too, so it must follow from these alone."""

FIRST_RATE, LAST_RATE = 1 / 25, 1 / 25e4
"""Shares of the peak rate at both ends of one cycle: torch.optim.lr_scheduler.OneCycleLR's defaults."""
DIVERGED = 100
"""An epoch's mean loss this many times the first epoch's (and above it in absolute terms) means that training diverged."""
CHECKPOINT = "checkpoint"


class TrainingConfig(StageConfig):
    """The settings that every stage that trains shares.

    `views` is how many versions of each sample augmentation makes (0: a new one each epoch); `patience` the epochs without
    progress after which training stops (0: never); `clip_norm` the largest norm of the gradient (0: unlimited); `devices` how many
    processes share each batch (`pipeline.ranks`).
    """

    not_in_key: ClassVar[frozenset[str]] = frozenset({"threads", "checkpoint_steps"})

    epochs: int = Field(default=20, ge=0)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    warm_up: float = Field(default=0.2, ge=0, lt=1)
    clip_norm: float = Field(default=5.0, ge=0)
    patience: int = Field(default=0, ge=0)
    views: int = Field(default=4, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["cpu", "cuda", "mps"] = "cpu"
    devices: int = Field(default=1, ge=1, le=64)
    deterministic: bool = True
    threads: int = Field(default=1, ge=1)
    checkpoint_steps: int = Field(default=100, ge=1)


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training: the best score, its epoch (0: as it came), one record an epoch, the number of steps."""

    best_score: float
    best_epoch: int
    history: tuple[Mapping[str, float], ...]
    steps: int

    def facts(self) -> dict[str, Any]:
        """Return it as a stage's facts."""
        return {
            "validation_score": self.best_score,
            "best_epoch": self.best_epoch,
            "steps": self.steps,
            "history": [dict(epoch) for epoch in self.history],
        }


def train(
    module: nn.Module,
    loss_of_batch: LossOfBatch,
    config: TrainingConfig,
    *,
    task: LoadedTask,
    seed: int,
    scratch: Path,
    progress: ReportProgress,
    evaluate: Evaluate | None = None,
    on_step: OnStep | None = None,
    extra: nn.Module | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    first_epoch: int = 0,
    stage: str = "training",
) -> TrainingResult:
    """Train a network in place; it ends with its best weights, in eval mode, on the processor whatever trained it.

    `extra` is what the loss owns and is trained along (adapters); `span` is the part of the learning rate's schedule that
    this training covers, so that several in a row share one, and `first_epoch` the number of epochs before it, so that its
    batches follow on theirs; `scratch` must be this training's own.
    """
    judge = evaluate or (lambda network: evaluate_by_task(network, task))
    with (
        conditions(threads=config.threads, deterministic=config.deterministic, accelerator=config.accelerator),
        determinism_explained(stage),
    ):
        loop = _Loop(
            module, loss_of_batch, config, task, seed, extra=extra, span=span, first_epoch=first_epoch, stage=stage
        )
        loop.resume(scratch / CHECKPOINT)
        if loop.best is None:
            loop.keep(_judged(loop, judge, scratch / CHECKPOINT), epoch=0)
        while not loop.is_over():
            _steps(loop, scratch / CHECKPOINT, progress=progress, on_step=on_step)
            loop.close_epoch(_judged(loop, judge, scratch / CHECKPOINT))
            loop.save(scratch / CHECKPOINT)
        loop.finish()
    return loop.result()


def _steps(loop: "_Loop", checkpoint: Path, *, progress: ReportProgress, on_step: OnStep | None) -> None:
    """Take the steps that are left of an epoch."""
    with interrupts_between_steps() as interrupted:
        for batch in loop.batches():
            if on_step:
                on_step(loop.step, loop.total)
            loop.take(batch)
            progress(loop.progress())
            if interrupted.is_set() or loop.step % loop.config.checkpoint_steps == 0:
                loop.save(checkpoint)
            if interrupted.is_set():
                raise KeyboardInterrupt


def _judged(loop: "_Loop", judge: Evaluate, checkpoint: Path) -> Evaluation:
    """Judge an epoch; judging changes nothing, so Ctrl-C meets a whole state here."""
    try:
        return agreed(judge(loop.module) if loop.fabric.is_global_zero else None, loop.fabric)
    except KeyboardInterrupt:
        loop.save(checkpoint)
        raise


def way_done(step: int, total: int, *, span: tuple[float, float] = (0.0, 1.0)) -> float:
    """Return how much of the whole way is done at a step of a training that covers `span` of it, 0 to 1."""
    begin, end = span
    return begin + (end - begin) * step / max(1, total - 1)


def learning_rate(step: int, total: int, config: TrainingConfig, *, span: tuple[float, float] = (0.0, 1.0)) -> float:
    """Return the rate of a step: `learning_rate` times the schedule at that share of the way."""
    way = way_done(step, total, span=span)
    # Of a whole schedule one or two steps see the ends alone, where the rate is next to nothing.
    if config.schedule == "constant" or (total < 3 and span == (0.0, 1.0)):
        return config.learning_rate
    first, last = (FIRST_RATE, LAST_RATE) if config.schedule == "one_cycle" else (0.0, 0.0)
    if way < config.warm_up:
        climbed = way / config.warm_up
        share = first + (1 - first) * (0.5 - 0.5 * math.cos(math.pi * climbed))
    else:
        share = last + (1 - last) * (0.5 + 0.5 * math.cos(math.pi * (way - config.warm_up) / (1 - config.warm_up)))
    return config.learning_rate * share


@dataclass
class _Loop:
    """A training while it runs: where it is, and what was best so far."""

    module: nn.Module
    loss_of_batch: LossOfBatch
    config: TrainingConfig
    task: LoadedTask
    seed: int
    extra: nn.Module | None
    span: tuple[float, float]
    first_epoch: int
    stage: str
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Evaluation | None = None
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps_an_epoch = steps_an_epoch(self.task, self.config.batch_size)
        self.total = self.config.epochs * self.steps_an_epoch
        config = self.config
        self.fabric = open_fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision)
        self.module.to(self.fabric.device)
        if takes_channels_last(self.module, on_device(self.task.example(), self.fabric.device)):
            lay_out(self.module, torch.channels_last)
        if self.extra is not None:
            self.extra.to(self.fabric.device)
        self.parameters = _trained(self.module, self.extra)
        self.optimizer = _optimizer(self.parameters, self.config)
        self.forward, self.stepper = self.fabric.setup(self.module, self.optimizer)

    def is_over(self) -> bool:
        """Tell whether all epochs are done, or patience is at its end."""
        waited = self.epoch - self.best_epoch
        return self.epoch >= self.config.epochs or 0 < self.config.patience <= waited

    def batches(self) -> Iterator[Batch]:
        """Give what is left of this epoch's batches."""
        self.module.train()
        return training_batches(
            self.task,
            epoch=self.first_epoch + self.epoch,
            seed=self.seed,
            batch_size=self.config.batch_size,
            views=self.config.views,
            start=self.step - self.epoch * self.steps_an_epoch,
        )

    def take(self, batch: Batch) -> None:
        """Take one step down the gradient."""
        torch.manual_seed(derive(self.seed, "step", self.first_epoch * self.steps_an_epoch + self.step))
        rate = learning_rate(self.step, self.total, self.config, span=self.span)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        device = self.fabric.device
        batch = share(batch, self.fabric)
        inputs, targets = (on_device(part, device) for part in (batch.inputs, batch.targets))
        batch = replace(batch, inputs=inputs, targets=targets, way=way_done(self.step, self.total, span=self.span))
        outputs = one_or_all(as_arguments(self.forward(*batch.inputs)))
        with self.fabric.autocast():
            loss = self.loss_of_batch(outputs, batch)
        value = self._checked(float(loss.detach()), rate)
        self.fabric.backward(loss)
        average_gradients(self.extra, self.fabric)
        if self.config.clip_norm:
            self.fabric.clip_gradients(
                self.forward, self.stepper, max_norm=self.config.clip_norm, error_if_nonfinite=False
            )
        self.stepper.step()
        self.stepper.zero_grad()
        self.loss_sum += average(value, self.fabric)  # alike on all ranks, as a checkpoint holds one
        self.step += 1

    def close_epoch(self, evaluation: Evaluation) -> None:
        """Note an epoch's loss and score, and keep its weights if they are the best so far."""
        loss = self.loss_sum / self.steps_an_epoch
        rate = learning_rate(self.step - 1, self.total, self.config, span=self.span)
        first = abs(self.history[0]["loss"]) if self.history else abs(loss)
        if loss > DIVERGED * max(1.0, first):
            raise self._failure(f"the mean loss grew from {first:.3g} after the first epoch to {loss:.3g}", rate)
        if not math.isfinite(evaluation.loss):
            raise self._failure(f"the loss on the validation split became {evaluation.loss}", rate)
        self.loss_sum = 0.0
        self.epoch += 1
        self.history.append(
            {
                "epoch": self.epoch,
                "loss": loss,
                "score": evaluation.score,
                "validation_loss": evaluation.loss,
                "learning_rate": rate,
            }
        )
        if evaluation.is_better_than(self.best):
            self.keep(evaluation, epoch=self.epoch)

    def keep(self, evaluation: Evaluation, *, epoch: int) -> None:
        """Hold on to the weights as they are."""
        self.best, self.best_epoch = evaluation, epoch
        self.best_weights = {name: value.detach().clone() for name, value in _tensors(self.module).items()}

    def progress(self) -> Progress:
        """Return how far it is, and what there is to say while it runs."""
        done = self.step - self.epoch * self.steps_an_epoch
        says = {"epoch": self.epoch + 1.0, "epochs": float(self.config.epochs), "loss": self.loss_sum / max(1, done)}
        last = self.history[-1] if self.history else {}
        if self.best is not None and last:
            says |= {"score": last["score"], "best": self.best.score}
        return Progress(self.step, self.total, says, samples=self.step * self.config.batch_size, epoch=last)

    def finish(self) -> None:
        """Give the network its best weights, and all back to the processor: nothing but training knows of accelerators."""
        for tensors in (self.best_weights, _tensors(self.extra)):
            take_over(tensors, self.fabric)
        self.module.load_state_dict(self.best_weights, strict=False)
        lay_out(self.module, torch.contiguous_format)
        self.module.to("cpu").eval()
        if self.extra is not None:
            self.extra.to("cpu")

    def result(self) -> TrainingResult:
        """Return what came of it."""
        assert self.best is not None
        return TrainingResult(self.best.score, self.best_epoch, tuple(self.history), self.step)

    def save(self, path: Path) -> None:
        """Write all that `resume` needs."""
        if self.best is None or not self.fabric.is_global_zero:
            return
        tensors = {f"module/{name}": value for name, value in _tensors(self.module).items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        tensors |= {f"extra/{name}": value for name, value in _tensors(self.extra).items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items() if value is not None}
        numbers = {
            "belongs_to": self._identity(),
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "history": self.history,
            "best": asdict(self.best),
            "best_epoch": self.best_epoch,
            "scaler": self.fabric.strategy.precision.state_dict(),
        }
        write_checkpoint(path, tensors, numbers)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of this very training, if there is one."""
        found = read_checkpoint(path)
        if found is None or found[1].get("belongs_to") != self._identity():
            return
        tensors, numbers = found
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "best": {}, "extra": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        self.module.load_state_dict(parts["module"], strict=False)
        if self.extra is not None:
            self.extra.load_state_dict(parts["extra"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            number, _, rest = name.partition("/")
            layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
            state.setdefault(int(number), {})[rest] = value.contiguous(memory_format=layout)
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.fabric.strategy.precision.load_state_dict(numbers["scaler"])
        self.best_weights = {name: value.to(self.fabric.device) for name, value in parts["best"].items()}
        self.best = Evaluation(**numbers["best"])
        self.epoch, self.step, self.best_epoch = numbers["epoch"], numbers["step"], numbers["best_epoch"]
        self.loss_sum, self.history = numbers["loss_sum"], numbers["history"]

    def _identity(self) -> str:
        """A checkpoint of other settings, or of another network, does not count."""
        shapes = {name: list(value.shape) for name, value in self.module.named_parameters()}
        settings = self.config.model_dump(mode="json")
        return text_fingerprint(json.dumps([settings, self.seed, self.span, self.first_epoch, shapes], sort_keys=True))

    def _checked(self, loss: float, rate: float) -> float:
        if not math.isfinite(loss):
            raise self._failure(f"the loss became {loss}", rate)
        return loss

    def _failure(self, what: str, rate: float) -> TrainingError:
        return TrainingError(
            f"{self.stage}: {what} in epoch {self.epoch + 1} at step {self.step + 1} of {self.total}, learning rate {rate:.2g}; "
            "try a tenth of learning_rate or a smaller clip_norm, and look for zeros under a log or a division in the loss"
        )


def _trained(*modules: nn.Module | None) -> list[nn.Parameter]:
    return [value for module in modules if module is not None for value in module.parameters() if value.requires_grad]


def _optimizer(parameters: list[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def _tensors(module: nn.Module | None) -> dict[str, Tensor]:
    """Return a module's parameters and buffers, those that are tensors; the rest follows from its constructor."""
    state = module.state_dict() if module is not None else {}
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
