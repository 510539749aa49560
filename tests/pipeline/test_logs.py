"""Logs of a run, each read back by its own tool: losses and scores by epoch, settings and final figures, and a store that knows nothing of them."""

import csv
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.errors import RecipeError
from pipeline.logs import Logged, logged
from pipeline.starter import write_starter

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
OF_MLFLOW = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what it asks SQLAlchemy for is on its way out
SHORT = (
    *("--set", 'stages=["teach", "distill"]', "--set", "measure=false"),
    *("--set", "controls=false", "--set", "teach.epochs=2", "--set", "distill.epochs=3"),
)
EVERY = ("--log", "csv", "--log", "tensorboard", "--log", "mlflow")
EPOCHS = {"teach.wide": 2, "distill": 3}
TARGET = "raspberry-pi-4"


@dataclass(frozen=True)
class Runs:
    """The same recipe, run with every log, again from the store, and then without any."""

    folder: Path
    made: tuple[str, ...]


def run(folder: Path, out: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [EDGEPRESS, "run", "recipe.toml", "--out", out, *SHORT, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "EDGEPRESS_STORE": "store", "HOME": str(folder / "home")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("logs")
    (folder / "home").mkdir()
    write_starter(folder)
    recipe = (folder / "recipe.toml").read_text(encoding="utf-8")
    (folder / "recipe.toml").write_text(recipe.partition("[prune]")[0], encoding="utf-8")
    done = [run(folder, "first", *EVERY), run(folder, "again", *EVERY[:4]), run(folder, "plain")]
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    return Runs(folder, tuple(each.stderr for each in done))


def metrics_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return a CSV log's figures by name: (step, value)."""
    found: dict[str, list[tuple[int, float]]] = {}
    [path] = (folder / "logs" / "csv").glob("version_*/metrics.csv")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name != "step" and value:
                    found.setdefault(name, []).append((int(row["step"]), float(value)))
    return found


def test_the_csv_has_each_epoch_once_with_what_the_store_recorded(runs: Runs) -> None:
    found = metrics_of(runs.folder / "first")
    histories = {json.dumps(facts["history"]) for facts in facts_of(runs.folder / "store") if "history" in facts}

    for step, epochs in EPOCHS.items():
        for name in ("loss", "score", "validation_loss", "learning_rate"):
            assert [at for at, _ in found[f"{step}/{name}"]] == list(range(1, epochs + 1)), (step, name)
    losses = [[epoch["loss"] for epoch in json.loads(history)] for history in histories]
    assert all([value for _, value in found[f"{step}/loss"]] in losses for step in EPOCHS)


def test_the_csv_has_final_figures_and_the_settings_beside_it(runs: Runs) -> None:
    found = metrics_of(runs.folder / "first")
    report = json.loads((runs.folder / "first" / TARGET / "report.json").read_text())
    [path] = (runs.folder / "first" / "logs" / "csv").glob("version_*/settings.json")
    settings = json.loads(path.read_text())[TARGET]

    for row in report["rows"]:
        name = f"{TARGET}/{row['stage'].replace(' ', '-')}"
        assert found[f"{name}/score"] == [(0, row["score"]["value"])]
        assert found[f"{name}/size_bytes"] == [(0, row["size_bytes"])]
    assert (settings["name"], settings["seed"]) == ("brightest-quarter", "0")
    assert any(name.endswith("distill.epochs") and value == "3" for name, value in settings.items())


def test_tensorboard_reads_the_same_figures_and_the_settings(runs: Runs) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [folder] = (runs.folder / "first" / "logs" / "tensorboard").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    found = metrics_of(runs.folder / "first")

    assert set(events.Tags()["scalars"]) >= set(found)
    for name, values in found.items():
        told = events.Scalars(name)
        assert [event.step for event in told] == [step for step, _ in values]
        assert [event.value for event in told] == pytest.approx([value for _, value in values])
    settings = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"distill.epochs" in settings


@OF_MLFLOW
def test_mlflow_reads_the_same_figures_and_the_settings(runs: Runs) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs.folder}/first/logs/mlflow.db")
    experiment = client.get_experiment_by_name("edgepress")
    assert experiment
    [logged_run] = client.search_runs([experiment.experiment_id])

    for name, values in metrics_of(runs.folder / "first").items():
        history = client.get_metric_history(logged_run.info.run_id, name)
        assert [(metric.step, metric.value) for metric in history] == values
    assert logged_run.info.status == "FINISHED"
    assert logged_run.data.params[f"{TARGET}/target"] == TARGET


def test_what_comes_from_the_store_logs_its_final_figures_alone(runs: Runs) -> None:
    first, again = metrics_of(runs.folder / "first"), metrics_of(runs.folder / "again")

    assert set(again) == {name for name in first if name.startswith(f"{TARGET}/")}
    assert again == {name: first[name] for name in again}


def test_a_log_changes_no_key(runs: Runs) -> None:
    manifests = [json.loads((runs.folder / out / TARGET / "manifest.json").read_text()) for out in ("first", "plain")]

    assert manifests[0]["steps"] == manifests[1]["steps"]
    assert " s  " in runs.made[0]
    assert " s  " not in runs.made[2]


def test_no_log_is_written_where_none_is_asked_for_and_none_into_the_home_folder(runs: Runs) -> None:
    assert sorted(path.name for path in (runs.folder / "plain").iterdir()) == [TARGET, "report.html"]
    assert [path.name for path in (runs.folder / "home").rglob("*") if "mlflow" in path.name.lower()] == []


def facts_of(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text())["facts"] for path in (store / "objects").glob("*/artifact.json")]


def test_an_unknown_log_is_told_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such log; known: csv, tensorboard, mlflow; did you mean 'tensorboard'"):
        logged(cast("Logged", None), ["tensorbord"], tmp_path).__enter__()


@pytest.mark.parametrize(
    ("kind", "hidden"), [("mlflow", "mlflow"), ("mlflow", "alembic"), ("tensorboard", "tensorboard")]
)
def test_a_missing_package_is_one_line_with_the_command_that_brings_it(tmp_path: Path, kind: str, hidden: str) -> None:
    write_starter(tmp_path)
    hide = f"import sys; sys.modules[{hidden!r}] = None; import importlib.metadata as m; found = m.distribution\n"
    hide += f"m.distribution = lambda name: found('nothing-of-that-name' if name == {hidden!r} else name)\n"
    code = f"{hide}sys.argv = ['edgepress', 'run', 'recipe.toml', '--log', {kind!r}]\nfrom pipeline.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        f"edgepress: --log {kind} needs {kind}, which isn't installed; pip install 'edgepress[{kind}]'\n"
    )


@OF_MLFLOW
def test_a_run_that_fails_leaves_a_log_that_says_so(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    with suppress(RecipeError), logged(cast("Logged", None), ["mlflow"], tmp_path):
        raise RecipeError("stop")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/logs/mlflow.db")
    experiment = client.get_experiment_by_name("edgepress")

    assert experiment
    assert [each.info.status for each in client.search_runs([experiment.experiment_id])] == ["FAILED"]
