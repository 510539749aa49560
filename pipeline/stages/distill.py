"""distill: train the student on what its teachers say.

Without a `network` it starts from the task's own student. Without teachers it is plain training: the control row of the
report. What is compared, and how: `pipeline.distillation`. With `peers = 1` a second student learns beside it, and both from
each other: `pipeline.distillation.mutual`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import nn

from pipeline.architecture import load_network, macs_of, parameters_of, save_network
from pipeline.artifact import Artifact, Facts
from pipeline.batches import evaluate
from pipeline.distillation import seen
from pipeline.distillation.mutual import Mutual, peer_of
from pipeline.distillation.supervision import TAKES, Supervision, SupervisionConfig, supervise
from pipeline.errors import RecipeError
from pipeline.reproducible import conditions
from pipeline.stage import Context, Stage, StageConfig
from pipeline.task import LoadedTask
from pipeline.training import Evaluate, TrainingConfig, TrainingResult, train


class DistillConfig(TrainingConfig, SupervisionConfig):
    """Settings of the training and of the supervision; `peer_weight` is how much two students hear each other."""

    peers: int = Field(default=0, ge=0, le=1)
    peer_weight: float = Field(default=1.0, ge=0)


def run(inputs: Mapping[str, Artifact], config: DistillConfig, context: Context) -> Facts:
    """Give the trained student."""
    check_peers(config, inputs)
    task = context.task
    student = load_network(inputs["network"], task) if "network" in inputs else task.student()
    facts = _trained(student, inputs, config, context) if config.epochs else _as_it_came(student, task)
    save_network(student, context.out, constructor="student", fresh=task.student())
    return {"parameters": parameters_of(student), "macs": macs_of(student, task.example()), **facts}


def _trained(
    student: nn.Module, inputs: Mapping[str, Artifact], config: DistillConfig, context: Context
) -> dict[str, Any]:
    task = context.task
    with supervise(student, inputs, config, context=context, views=config.views, load=load_network) as supervision:
        mutual = _mutual(supervision, inputs, config, context) if config.peers else None
        result = train(
            student,
            mutual.loss if mutual else supervision.loss,
            config,
            task=task,
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            evaluate=supervision.evaluate,
            extra=mutual or supervision.extra,
            stage="distill",
        )
    if mutual is None:
        return result.facts()
    judge = supervision.evaluate or (lambda network: evaluate(network, task))
    return {**result.facts(), **_better(student, mutual, result, judge)}


def _as_it_came(student: nn.Module, task: LoadedTask) -> dict[str, Any]:
    """Judge a student that isn't trained, where there are labels to judge by."""
    if not task.is_labelled("validation"):
        return {}
    with conditions(threads=1, deterministic=True, accelerator="cpu"):
        return {"validation_score": evaluate(student, task).score}


def check_peers(config: StageConfig, inputs: Mapping[str, object]) -> None:
    """Raise RecipeError where a peer, drawn as the task builds it, would stand beside a network that is trained or pruned already."""
    if getattr(config, "peers", 0) and "network" in inputs:
        raise RecipeError(
            "peers = 1 draws a second student afresh, and this distill goes on with a network that was made before; "
            "set peers = 0 in its section"
        )


def _mutual(
    supervision: Supervision, inputs: Mapping[str, Artifact], config: DistillConfig, context: Context
) -> Mutual:
    """Set a peer beside the student; it hears the same teachers, but sees none of their layers."""
    peer = peer_of(context.task)
    of_outputs = {name: weight for name, weight in config.losses.items() if name not in seen.discover()}
    alike = config.model_copy(update={"losses": of_outputs})
    other = supervise(peer, inputs, alike, context=context, views=config.views, load=load_network)
    return Mutual(peer, supervision, other, task=context.task, weight=config.peer_weight)


def _better(student: nn.Module, mutual: Mutual, result: TrainingResult, judge: Evaluate) -> Facts:
    """Give the student the peer's weights where those are better on the validation split."""
    mine, peers = judge(student), judge(mutual.peer)
    better = peers.is_better_than(mine)
    if better:
        student.load_state_dict(mutual.peer.state_dict())
    score = peers.score if better else result.best_score
    return {"kept": "peer" if better else "student", "peer_score": peers.score, "validation_score": score}


STAGE = Stage(
    name="distill",
    version=2,
    config=DistillConfig,
    takes=("network?", *TAKES),
    gives="network",
    reads=("data.train", "data.validation", "student", "loss", "score", "augment", "collate"),
    libraries=("torch", "lightning-fabric"),
    run=run,
)
