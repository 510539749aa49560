import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from pipeline.batches import Batch, Evaluation, derive, evaluate
from pipeline.errors import TrainingError
from pipeline.stage import Progress
from pipeline.task import LoadedTask
from pipeline.training import CHECKPOINT, TrainingConfig, TrainingResult, learning_rate, train
from tests.small_task import bars, same_weights, weights_of

ROOT = Path(__file__).parents[2]
QUICK = TrainingConfig(epochs=3, batch_size=16, checkpoint_steps=4)
Run = Callable[..., tuple[nn.Module, TrainingResult]]


def silent(_progress: Progress) -> None:
    """Say nothing."""


def loss_of(task: LoadedTask) -> Callable[[Any, Batch], Tensor]:
    return lambda output, batch: task.loss(output, batch.targets)


def run(scratch: Path, config: TrainingConfig = QUICK, **changed: Any) -> tuple[nn.Module, TrainingResult]:
    task = bars()
    module = changed.pop("module", None) or task.student()
    loss = changed.pop("loss", loss_of(task))
    settings = {"task": task, "seed": 0, "scratch": scratch, "progress": silent, **changed}
    return module, train(module, loss, config, **settings)


def test_training_learns(tmp_path: Path) -> None:
    module, result = run(tmp_path, TrainingConfig(epochs=10, batch_size=16))

    assert result.best_score > 0.9
    assert evaluate(module, bars()).score == result.best_score
    assert result.steps == 60


def test_equal_seeds_give_equal_weights_and_others_don_t(tmp_path: Path) -> None:
    first, _ = run(tmp_path / "a")
    again, _ = run(tmp_path / "b")
    other, _ = run(tmp_path / "c", seed=1)

    assert same_weights(weights_of(first), weights_of(again))
    assert not same_weights(weights_of(first), weights_of(other))


def test_the_result_depends_on_nothing_that_the_process_did_before(tmp_path: Path) -> None:
    first, _ = run(tmp_path / "a")
    torch.manual_seed(1234)
    torch.rand(7)
    again, _ = run(tmp_path / "b")

    assert same_weights(weights_of(first), weights_of(again))


def test_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    before = (torch.get_num_threads(), torch.get_rng_state(), signal.getsignal(signal.SIGINT))
    run(tmp_path, TrainingConfig(epochs=1, batch_size=16, threads=2))
    after = (torch.get_num_threads(), torch.get_rng_state(), signal.getsignal(signal.SIGINT))

    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2] is after[2]
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_network_ends_with_the_weights_of_its_best_epoch(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []

    def judge(module: nn.Module) -> Evaluation:
        seen.append(weights_of(module))
        return Evaluation([0.1, 0.5, 0.9, 0.3][len(seen) - 1], 1.0)

    module, result = run(tmp_path, evaluate=judge)

    assert result.best_epoch == 2
    assert same_weights(weights_of(module), seen[2])


def test_a_lower_score_is_the_better_where_the_metric_says_so(tmp_path: Path) -> None:
    scores = iter([9.0, 3.0, 2.0, 4.0])
    _, result = run(tmp_path, evaluate=lambda _: Evaluation(next(scores), 1.0, higher_is_better=False))

    assert (result.best_score, result.best_epoch) == (2.0, 2)


def test_training_never_ends_worse_than_it_began(tmp_path: Path) -> None:
    task = bars()
    trained, _ = run(tmp_path / "a", TrainingConfig(epochs=10, batch_size=16))
    before = weights_of(trained)
    ruinous = TrainingConfig(epochs=1, batch_size=16, learning_rate=3.0, schedule="constant", clip_norm=0)
    _, result = run(tmp_path / "b", ruinous, module=trained)

    assert result.best_epoch == 0
    assert evaluate(trained, task).score == result.best_score
    assert same_weights(weights_of(trained), before)


def test_patience_ends_a_training_that_makes_no_progress(tmp_path: Path) -> None:
    scores = iter([0.9, *([0.5] * 20)])
    config = TrainingConfig(epochs=20, batch_size=16, patience=3)
    _, result = run(tmp_path, config, evaluate=lambda _: Evaluation(next(scores), 1.0))

    assert len(result.history) == 3


def test_no_epochs_judge_and_change_nothing(tmp_path: Path) -> None:
    task = bars()
    module, result = run(tmp_path, TrainingConfig(epochs=0))

    assert result == TrainingResult(evaluate(task.student(), task).score, 0, (), 0)
    assert same_weights(weights_of(module), weights_of(task.student()))


def test_a_loss_that_is_not_finite_names_stage_epoch_step_and_rate(tmp_path: Path) -> None:
    calls: list[int] = []

    def loss(output: Tensor, batch: Batch) -> Tensor:
        calls.append(1)
        return output.sum() * float("nan") if len(calls) == 8 else bars().loss(output, batch.targets)

    with pytest.raises(
        TrainingError, match=r"^distill: the loss became nan in epoch 2 at step 8 of 18, learning rate .*try"
    ):
        run(tmp_path, loss=loss, stage="distill")


def test_divergence_is_an_error(tmp_path: Path) -> None:
    def loss(output: Tensor, batch: Batch) -> Tensor:
        size = 1.0 if batch.view == 0 else 1e6
        return bars().loss(output, batch.targets) * size

    with pytest.raises(TrainingError, match=r"the mean loss grew from .* to 1\.\d+e\+06 in epoch 2"):
        run(tmp_path, TrainingConfig(epochs=3, batch_size=16, views=2), loss=loss)


def test_an_accelerator_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    missing: Literal["mps", "cuda"] = "mps" if not torch.backends.mps.is_available() else "cuda"

    with pytest.raises(TrainingError, match=f"accelerator '{missing}' .* can't be used here"):
        run(tmp_path, TrainingConfig(epochs=1, accelerator=missing))


def test_training_runs_in_mixed_precision(tmp_path: Path) -> None:
    _, result = run(tmp_path, TrainingConfig(epochs=10, batch_size=16, precision="bf16-mixed"))

    assert result.best_score > 0.8


def test_what_the_loss_owns_is_trained_along(tmp_path: Path) -> None:
    adapter = nn.Linear(4, 4)
    before = adapter.weight.detach().clone()
    run(tmp_path, loss=lambda output, batch: bars().loss(adapter(output), batch.targets), extra=adapter)

    assert not torch.equal(before, adapter.weight)


def test_each_step_is_announced_with_its_number(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    said: list[Progress] = []
    _, result = run(tmp_path, on_step=lambda step, total: steps.append((step, total)), progress=said.append)

    assert steps == [(number, 18) for number in range(18)]
    assert [progress.done for progress in said] == list(range(1, 19))
    assert set(said[-1].says) == {"epoch", "epochs", "loss", "score", "best"}
    assert (said[-1].says["epoch"], said[-1].says["epochs"], said[-1].samples % 18) == (3, 3, 0)
    assert said[-1].epoch == result.history[1]
    assert said[0].epoch == {}


def test_ctrl_c_leaves_a_checkpoint_and_the_next_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")

    def interrupt(progress: Progress) -> None:
        if progress.done == 9:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", progress=interrupt)
    steps: list[int] = []
    rest, _ = run(tmp_path / "cut", on_step=lambda step, _: steps.append(step))

    assert steps == list(range(9, 18))
    assert same_weights(weights_of(whole), weights_of(rest))


def test_ctrl_c_while_an_epoch_is_judged_leaves_a_checkpoint_too(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    judged: list[int] = []

    def interrupted(module: nn.Module) -> Evaluation:
        judged.append(1)
        if len(judged) == 2:
            raise KeyboardInterrupt
        return evaluate(module, bars())

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", evaluate=interrupted)
    steps: list[int] = []
    rest, _ = run(
        tmp_path / "cut", evaluate=lambda module: evaluate(module, bars()), on_step=lambda step, _: steps.append(step)
    )

    assert steps == list(range(6, 18))
    assert same_weights(weights_of(whole), weights_of(rest))


def test_adapters_and_momentum_survive_an_interruption(tmp_path: Path) -> None:
    def training(scratch: Path, stop: int | None) -> Tensor:
        torch.manual_seed(5)
        adapter = nn.Linear(4, 4)

        def progress(progress: Progress) -> None:
            if progress.done == stop:
                os.kill(os.getpid(), signal.SIGINT)

        config = TrainingConfig(epochs=3, batch_size=16, optimizer="sgd", learning_rate=0.05)
        run(
            scratch,
            config,
            loss=lambda output, batch: bars().loss(adapter(output), batch.targets),
            extra=adapter,
            progress=progress,
        )
        return adapter.weight.detach()

    whole = training(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "cut", 8)

    assert torch.equal(whole, training(tmp_path / "cut", None))


def test_a_damaged_checkpoint_is_ignored(tmp_path: Path) -> None:
    whole, _ = run(tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9)
    again, result = run(tmp_path)

    assert result.steps == 18
    assert same_weights(weights_of(whole), weights_of(again))


def test_a_checkpoint_of_other_settings_does_not_count(tmp_path: Path) -> None:
    run(tmp_path, TrainingConfig(epochs=1, batch_size=16))
    steps: list[int] = []
    run(
        tmp_path,
        TrainingConfig(epochs=1, batch_size=16, learning_rate=1e-3),
        on_step=lambda step, _: steps.append(step),
    )

    assert steps == list(range(6))


def test_a_training_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.pipeline.killed_training", str(tmp_path), "3", "10"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=240)
    whole, *killed = done.stdout.splitlines()

    assert len(killed) == 3
    assert killed == [whole] * 3


def test_one_cycle_climbs_to_the_rate_and_falls_to_nothing() -> None:
    config = TrainingConfig(learning_rate=1.0, schedule="one_cycle", warm_up=0.25)
    rates = [learning_rate(step, 101, config) for step in range(101)]

    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[25] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(1 / 25e4)
    assert rates[25:] == sorted(rates[25:], reverse=True)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_few_steps_learn_too(schedule: Literal["one_cycle", "cosine", "constant"], total: int) -> None:
    config = TrainingConfig(learning_rate=1.0, schedule=schedule)

    assert max(learning_rate(step, total, config) for step in range(total)) > 0.5


def test_trainings_in_a_row_can_share_one_schedule() -> None:
    config = TrainingConfig(learning_rate=1.0, schedule="cosine", warm_up=0.0)
    whole = [learning_rate(step, 21, config) for step in range(21)]
    halves = [learning_rate(step, 11, config, span=span) for span in ((0.0, 0.5), (0.5, 1.0)) for step in range(11)]

    assert halves[:11] == pytest.approx(whole[:11])
    assert halves[11:] == pytest.approx(whole[10:])


def test_a_seed_of_a_step_depends_on_its_number_alone() -> None:
    assert derive(0, "step", 3) == derive(0, "step", 3) != derive(0, "step", 4)
