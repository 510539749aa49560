"""distill: train the student on what its teachers say.

Without a `network` it starts from the task's own student. Without teachers it is plain training: the control row of the
report. What is compared, and how: `pipeline.distillation`.
"""

from collections.abc import Mapping

from pipeline.architecture import load_network, macs_of, parameters_of, save_network
from pipeline.artifact import Artifact, Facts
from pipeline.distillation.supervision import TAKES, SupervisionConfig, supervise
from pipeline.stage import Context, Stage
from pipeline.training import TrainingConfig, train


class DistillConfig(TrainingConfig, SupervisionConfig):
    """Settings of the training and of the supervision."""


def run(inputs: Mapping[str, Artifact], config: DistillConfig, context: Context) -> Facts:
    """Give the trained student."""
    task = context.task
    student = load_network(inputs["network"], task) if "network" in inputs else task.student()
    with supervise(student, inputs, config, context=context, views=config.views, load=load_network) as supervision:
        result = train(
            student,
            supervision.loss,
            config,
            task=task,
            seed=context.seed,
            scratch=context.scratch,
            progress=context.progress,
            evaluate=supervision.evaluate,
            extra=supervision.extra,
            stage="distill",
        )
    save_network(student, context.out, constructor="student", fresh=task.student())
    return {"parameters": parameters_of(student), "macs": macs_of(student, task.example()), **result.facts()}


STAGE = Stage(
    name="distill",
    version=1,
    config=DistillConfig,
    takes=("network?", *TAKES),
    gives="network",
    reads=("data.train", "data.validation", "student", "loss", "score", "augment", "collate"),
    libraries=("torch", "lightning-fabric"),
    run=run,
)
