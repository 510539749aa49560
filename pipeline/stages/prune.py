"""prune: take channels and heads out of a network until it has the wanted MACs, and train what is left.

The network is cut in `cuts` steps, spread evenly over the first `cut_share` of the epochs, the first before any of them; each
leaves the same share of what the last one left. One learning rate's schedule runs over all of it, back at its full height
(learning-rate rewinding: Renda et al. 2020, https://arxiv.org/abs/2003.02389), with the teachers as supervisors throughout.
`tests/evidence/pruning_schedule/run.py` compares that with cutting once, late, and recovering at a low rate.

A network that doesn't recover is an error with advice, not a result.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from typing import Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from pipeline.architecture import load_network, save_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import Batch, Evaluation, evaluate, one_or_all, split_batches, training_batches
from pipeline.depth import drop_layers
from pipeline.distillation import seen
from pipeline.distillation.supervision import TAKES, Supervision, SupervisionConfig, supervise
from pipeline.errors import TrainingError
from pipeline.pruning.importance import Importance
from pipeline.pruning.pruner import Wish, prune_to
from pipeline.pruning.table import CostTable, read_table
from pipeline.stage import Context, Progress, Stage
from pipeline.task import as_arguments
from pipeline.training import TrainingConfig, TrainingResult, train
from pipeline.vocabulary import trim

TAYLOR_BATCHES, TAYLOR_BATCH_SIZE = 16, 32
"""What Taylor importance looks at: few samples do (Molchanov et al. 2019, section 4.2), many batches make its mean."""


QUANTITIES = {"latency_ms": ("latency", 1000.0), "instructions": ("instructions", 1.0), "cycles": ("cycles", 1.0)}
"""What `until` may name: the device's quantity, and its units in one of ours."""
UNTIL = re.compile(
    rf"^(?:(?P<name>{'|'.join(QUANTITIES)}) *= *(?P<number>[0-9]+(?:\.[0-9]+)?(?:e[0-9]{{1,2}})?) *(?P<percent>%?))?$"
)


class PruneConfig(TrainingConfig, SupervisionConfig):
    """How small, by what, and in how many cuts; with `epochs` = 0 it only cuts, for a later stage to train.

    `keep_macs` and `floor_ratio` are shares of what comes in; the target gives `channel_multiple`. `largest_drop` is the share
    of its score that the network may lose before it counts as collapsed. `trim_vocabulary` keeps the rows of embeddings whose ids come in
    the training data; the MACs don't change by it. `drop_layers` is how many layers leave each row of equal ones before anything else does;
    `keep_macs` still counts from the network that came in. `until` stands in place of `keep_macs`: what the student's int8 TFLite file may
    cost on the target, "latency_ms = 0.4", "instructions = 9e5", "cycles = 2e5", or a share of what the uncut student costs,
    "instructions = 50%"; channels then leave by importance for each unit of the target's own cost (see `pruning.table`).
    """

    keep_macs: float = Field(default=0.5, gt=0, le=1)
    channel_multiple: int = Field(default=8, ge=1)
    floor_ratio: float = Field(default=0.25, gt=0, le=1)
    importance: Importance = "taylor"
    cuts: int = Field(default=1, ge=1)
    cut_share: float = Field(default=0.3, ge=0, lt=1)
    largest_drop: float = Field(default=0.1, gt=0, lt=1)
    trim_vocabulary: bool = False
    drop_layers: int = Field(default=0, ge=0)
    until: str = ""

    @field_validator("until")
    @classmethod
    def _known_until(cls, until: str) -> str:
        if not UNTIL.fullmatch(until):
            raise PydanticCustomError(
                "until",
                "it takes one of {names}, with a number or a share: 'latency_ms = 0.4', 'instructions = 50%'",
                {"names": ", ".join(QUANTITIES)},
            )
        return until

    def limit(self, table: CostTable) -> float:
        """Return what the network may cost, in the table's unit."""
        found = UNTIL.fullmatch(self.until)
        assert found
        number = float(found["number"])
        return table.whole * number / 100 if found["percent"] else number * QUANTITIES[found["name"]][1]


def quantity_of(until: str) -> str:
    """Return a device's name for the quantity in an `until`; empty where there is none."""
    found = UNTIL.fullmatch(until)
    return QUANTITIES[found["name"]][0] if found and found["name"] else ""


@dataclass(frozen=True)
class Part:
    """One cut and the epochs after it: the share of the way down that it goes, the first epoch, the epochs, their span of the schedule."""

    share: float
    first_epoch: int
    epochs: int
    span: tuple[float, float]


def run(inputs: Mapping[str, Artifact], config: PruneConfig, context: Context) -> Facts:
    """Give the pruned network."""
    task = context.task
    whole = load_network(inputs["network"], task)
    before = _judge(_supervision(whole, inputs, config, context), context)(whole)
    rows = trim(whole, _plain_batches(context)) if config.trim_vocabulary else {}
    network, layers = whole, dict[str, tuple[int, int]]()
    if config.drop_layers:
        network, layers = drop_layers(whole, config.drop_layers, list(_losses(whole, inputs, config, context)))
    table = read_table(inputs["costs"].path) if config.until else None
    cuts, results = [], []
    for number, part in enumerate(parts_of(config)):
        wish = _wish(config, part, table)
        losses = _losses(network, inputs, config, context) if config.importance == "taylor" else ()
        network, cut = prune_to(network, task.example(), wish, whole=whole, losses=losses)
        cuts.append(cut)
        results.append(_trained(network, part, number, inputs=inputs, config=config, context=context))
    _check_recovery(before, results[-1], config)
    save_network(network, context.out, constructor="student", fresh=task.student())
    told = {} if table is None else {"costs": table.model_dump(include={"quantity", "unit", "label", "device"})}
    return {**_facts(before, cuts, results), **told, "vocabulary": _listed(rows), "layers": _listed(layers)}


def _wish(config: PruneConfig, part: Part, table: CostTable | None) -> Wish:
    """Return what a cut shall reach: each leaves the same share of what the last one left."""
    limit = None if table is None else table.whole * (config.limit(table) / table.whole) ** part.share
    return Wish(
        keep_macs=config.keep_macs**part.share,
        channel_multiple=config.channel_multiple,
        floor_ratio=config.floor_ratio,
        importance=config.importance,
        table=table,
        limit=limit,
    )


def _listed(changes: Mapping[str, tuple[int, int]]) -> dict[str, list[int]]:
    return {name: list(change) for name, change in changes.items()}


def _plain_batches(context: Context) -> Iterator[tuple[Tensor, ...]]:
    return (batch.inputs for batch in split_batches(context.task, "train", batch_size=250))


def parts_of(config: PruneConfig) -> list[Part]:
    """Return the cuts, each with the epochs until the next; never two cuts in one epoch."""
    cuts = max(1, min(config.cuts, round(config.cut_share * config.epochs)))
    starts = [round(number * config.cut_share * config.epochs / cuts) for number in range(cuts)] + [config.epochs]
    return [
        Part(
            share=(number + 1) / cuts,
            first_epoch=start,
            epochs=end - start,
            span=(start / max(1, config.epochs), end / max(1, config.epochs)),
        )
        for number, (start, end) in enumerate(pairwise(starts))
    ]


def _after(part: Part, told: Mapping[str, float]) -> dict[str, float]:
    """Count a part's epochs on from those before it."""
    return {name: value + part.first_epoch if name == "epoch" else value for name, value in told.items()}


def _trained(
    network: nn.Module,
    part: Part,
    number: int,
    *,
    inputs: Mapping[str, Artifact],
    config: PruneConfig,
    context: Context,
) -> TrainingResult:
    """Train what a cut left. Its scratch is its own: after a kill the cuts before it are made again, their trainings are read."""

    def report(progress: Progress) -> None:
        each = progress.total // max(1, part.epochs)
        done, total = part.first_epoch * each + progress.done, config.epochs * each
        says = {**_after(part, progress.says), "epochs": float(config.epochs)}
        context.progress(replace(progress, done=done, total=total, says=says, epoch=_after(part, progress.epoch)))

    with _supervision(network, inputs, config, context) as supervision:
        return train(
            network,
            supervision.loss,
            config.model_copy(update={"epochs": part.epochs}),
            task=context.task,
            seed=context.seed,
            scratch=context.scratch / f"cut-{number + 1}",
            progress=report,
            evaluate=supervision.evaluate,
            extra=supervision.extra,
            span=part.span,
            first_epoch=part.first_epoch,
            stage="prune",
        )


def _supervision(
    network: nn.Module, inputs: Mapping[str, Artifact], config: PruneConfig, context: Context
) -> Supervision:
    return supervise(network, inputs, config, context=context, views=config.views, load=load_network)


def _judge(supervision: Supervision, context: Context) -> Callable[[nn.Module], Evaluation]:
    with supervision:
        return supervision.evaluate or (lambda network: evaluate(network, context.task))


def _losses(
    network: nn.Module, inputs: Mapping[str, Artifact], config: PruneConfig, context: Context
) -> Iterator[Callable[[nn.Module], Tensor]]:
    """Give the loss by which Taylor importance judges, one batch at a time; layers leave, so losses between them stay out."""
    of_outputs = {name: weight for name, weight in config.losses.items() if name not in seen.discover()}
    supervision = _supervision(network, inputs, config.model_copy(update={"losses": of_outputs}), context)
    batches = training_batches(
        context.task, epoch=0, seed=context.seed, batch_size=TAYLOR_BATCH_SIZE, views=config.views
    )
    for batch in islice(batches, TAYLOR_BATCHES):
        yield partial(_loss_on, supervision, batch)


def _loss_on(supervision: Supervision, batch: Batch, network: nn.Module) -> Tensor:
    return supervision.loss(one_or_all(as_arguments(network(*batch.inputs))), batch)


def _check_recovery(before: Evaluation, after: TrainingResult, config: PruneConfig) -> None:
    lost = (before.score - after.best_score) * (1 if before.higher_is_better else -1)
    other = "magnitude" if config.importance == "taylor" else "taylor"
    if config.epochs and lost > config.largest_drop * abs(before.score):
        raise TrainingError(
            f"prune: the network went in with a validation score of {before.score:.4g} and came out with {after.best_score:.4g}, "
            f"which is more than largest_drop = {config.largest_drop} of it; raise keep_macs (now {config.keep_macs}), floor_ratio "
            f"(now {config.floor_ratio}) or epochs (now {config.epochs}), or set importance = {other!r}"
        )


def _facts(before: Evaluation, cuts: list[dict[str, Any]], results: list[TrainingResult]) -> Facts:
    widths: dict[str, list[int]] = {}
    for cut in cuts:
        for layer, (was, now) in cut["channels"].items():
            widths[layer] = [widths.get(layer, [was])[0], now]
    history = [{**epoch, "cut": number + 1} for number, result in enumerate(results) for epoch in result.history]
    return {
        "parameters": cuts[-1]["parameters"],
        "macs": cuts[-1]["macs"],
        "macs_before": cuts[0]["macs_before"],
        **_aim(cuts),
        "channels": widths,
        "left_alone": cuts[-1]["left_alone"],
        "macs_after_each_cut": [cut["macs"] for cut in cuts],
        "score_before": before.score,
        **results[-1].facts(),
        "history": history,
        "steps": sum(result.steps for result in results),
    }


def _aim(cuts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what was wanted: of MACs, or of the target's own cost, with what that was before the first cut and is after the last."""
    if "cost" not in cuts[-1]:
        return {"wanted_macs": cuts[-1]["wanted_macs"]}
    return {**{name: cuts[-1][name] for name in ("wanted_cost", "cost")}, "cost_before": cuts[0]["cost_before"]}


STAGE = Stage(
    name="prune",
    version=3,
    config=PruneConfig,
    takes=("network", "costs?", *TAKES),
    gives="network",
    reads=("data.train", "data.validation", "student", "loss", "score", "augment", "collate"),
    libraries=("torch", "lightning-fabric", "torch-pruning"),
    run=run,
)
