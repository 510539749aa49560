"""Logs of a run for other tools: losses and scores epoch by epoch, and at the end figures and settings; `edgepress run --log KIND`.

| kind | what `OUT/logs` gets | by |
|---|---|---|
| csv | `csv/version_N/metrics.csv`, and beside it `settings.json` | Fabric's CSVLogger, which takes no settings |
| tensorboard | `tensorboard/version_N/events...`; `tensorboard --logdir OUT/logs` | Fabric's TensorBoardLogger |
| mlflow | `mlflow.db`; `mlflow ui --backend-store-uri sqlite:///OUT/logs/mlflow.db` | MLflow's client: Fabric has no logger for it, and MLflow's store of plain files takes no new runs since 3.7 |

A log only listens: a step's key and bytes are the same with it and without. What comes from the store was logged by the run that made it,
so then only the final figures are. Names are STEP/loss, STEP/score, ... with "." for ":"; the step on their axis is the epoch.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.dotted import dotted
from pipeline.errors import MissingExtraError, RecipeError, did_you_mean
from pipeline.plan import Step
from pipeline.recipe import Recipe
from pipeline.report.model import Report
from pipeline.run import Done
from pipeline.stage import Progress

if TYPE_CHECKING:
    from pipeline.api import Watcher

MAX_PARAMETER = 500
"""Characters of a setting: what MLflow's oldest servers take."""


class Log(Protocol):
    """One place that figures go to."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Take figures of an epoch."""

    def settings(self, values: Mapping[str, str], final: Mapping[str, float]) -> None:
        """Take what a target's run was asked for and what came of it."""

    def close(self, status: str) -> None:
        """Write all that was taken: "success" or "failed"."""


class Logged:
    """A watcher that logs what it is told, and passes it on."""

    def __init__(self, watcher: "Watcher", logs: Sequence[Log]) -> None:
        self.watcher, self.logs = watcher, logs
        self.epoch: dict[str, int] = {}

    def watch(self, step: Step, progress: Progress) -> None:
        """Log an epoch that is over, once."""
        self.watcher.watch(step, progress)
        epoch = int(progress.epoch.get("epoch", 0))
        if epoch > self.epoch.get(step.name, 0):
            self._log(step.name, progress.epoch, epoch)

    def done(self, done: Done) -> None:
        """Log the last epoch of a training, after which there is no progress."""
        history = done.artifact.facts.get("history")
        if history and not done.cached:
            self._log(done.step.name, history[-1], self.epoch.get(done.step.name, len(history) - 1) + 1)
        self.watcher.done(done)

    def say(self, text: str) -> None:
        """Pass it on."""
        self.watcher.say(text)

    def report(self, recipe: Recipe, report: Report) -> None:
        """Log what a target's run was asked for and what came of it."""
        settings = {"target": report.target, **_flat(recipe.model_dump(mode="json", exclude={"folder"}))}
        for log in self.logs:
            log.settings(settings, _final(report))

    def _log(self, step: str, record: Mapping[str, float], epoch: int) -> None:
        self.epoch[step] = epoch
        values = {f"{_plain(step)}/{name}": float(value) for name, value in record.items() if name != "epoch"}
        for log in self.logs:
            log.metrics(values, epoch)


@contextmanager
def logged(watcher: "Watcher", kinds: Sequence[str], out: Path) -> Iterator[Logged]:
    """Give a watcher that logs into `out`/logs until the block ends; RecipeError for a kind that isn't known."""
    for kind in kinds:
        if kind not in KINDS:
            raise RecipeError(f"--log {kind}: no such log; known: {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    with ExitStack() as stack:
        logs = [stack.enter_context(_open(kind, out / "logs")) for kind in dict.fromkeys(kinds)]
        yield Logged(watcher, logs)


@contextmanager
def _open(kind: str, folder: Path) -> Iterator[Log]:
    try:
        log = KINDS[kind](folder)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"--log {kind} needs {kind}, which isn't installed; pip install 'edgepress[{kind}]'"
        ) from error
    try:
        yield log
    except BaseException:
        log.close("failed")
        raise
    log.close("success")


class _Csv:
    def __init__(self, folder: Path) -> None:
        from lightning_fabric.loggers import CSVLogger  # noqa: PLC0415 - only who asks for a log pays for its library

        self.logger = CSVLogger(str(folder), name="csv", flush_logs_every_n_steps=1)
        self.told: dict[str, Any] = {}

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics(dict(values), step)

    def settings(self, values: Mapping[str, str], final: Mapping[str, float]) -> None:
        self.metrics(final, 0)
        self.told[values["target"]] = dict(values)
        text = json.dumps(self.told, indent=1)
        (Path(self.logger.log_dir) / "settings.json").write_text(text + "\n", encoding="utf-8")

    def close(self, status: str) -> None:
        self.logger.finalize(status)


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        from lightning_fabric.loggers import TensorBoardLogger  # noqa: PLC0415 - as above

        self.logger = TensorBoardLogger(str(folder), name="tensorboard", default_hp_metric=False)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics(dict(values), step)

    def settings(self, values: Mapping[str, str], final: Mapping[str, float]) -> None:
        self.logger.log_hyperparams(dict(values), dict(final), step=0)

    def close(self, status: str) -> None:
        self.logger.finalize(status)


class _Mlflow:
    """MLflow, on a database file of our own; `MLFLOW_TRACKING_URI` is left aside, since nothing here talks to a network."""

    def __init__(self, folder: Path) -> None:
        os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})  # it reports its use otherwise
        import alembic  # noqa: F401, PLC0415 - what its database needs and its light package leaves out
        import sqlalchemy  # noqa: F401, PLC0415 - as above
        from mlflow import MlflowClient  # noqa: PLC0415 - as above

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        folder.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(tracking_uri=f"sqlite:///{(folder / 'mlflow.db').absolute()}")
        found = self.client.get_experiment_by_name("edgepress")
        place = (folder.absolute() / "mlflow").as_uri()
        experiment = found.experiment_id if found else self.client.create_experiment("edgepress", place)
        self.run = self.client.create_run(experiment).info.run_id

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run, name, value, step=step)

    def settings(self, values: Mapping[str, str], final: Mapping[str, float]) -> None:
        self.metrics(final, 0)
        for name, value in values.items():
            self.client.log_param(self.run, f"{values['target']}/{name}", value)

    def close(self, status: str) -> None:
        self.client.set_terminated(self.run, status="FINISHED" if status == "success" else "FAILED")


KINDS: dict[str, Callable[[Path], Log]] = {"csv": _Csv, "tensorboard": _TensorBoard, "mlflow": _Mlflow}


def _final(report: Report) -> dict[str, float]:
    """Return a report's figures: score and size of each form, medians of what was measured and is valid."""
    found: dict[str, float] = {}
    for row in (*report.rows, *report.controls):
        name = f"{report.target}/{_plain(row.stage)}"
        found |= {f"{name}/score": row.score.value, f"{name}/size_bytes": row.size_bytes}
        found |= {f"{name}/macs": row.macs} if row.macs is not None else {}
    for figure in report.measurements:
        if figure.valid and figure.quantity == "latency":
            where = f"{_plain(figure.device)}-{figure.threads}"
            found[f"{report.target}/{_plain(figure.model)}/latency_{figure.unit}-{figure.label}-{where}"] = figure.value
    return found


def _plain(name: str) -> str:
    """Return a name that all three take: letters, digits and ._- alone."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "." if letter == ":" else "-" for letter in name)


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return nested settings by their dotted names, as text."""
    named = {name: value for name, value in dotted(settings) if value != {}}
    return {
        name: (value if isinstance(value, str) else json.dumps(value))[:MAX_PARAMETER] for name, value in named.items()
    }
