"""The engine: what is made is made once, what changed is made again, what crashed goes on, and `explain` says why."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import Artifact, Facts
from pipeline.errors import MissingExtraError, TaskError
from pipeline.plan import Step
from pipeline.run import Outlook, explain, key_of, key_parts, run
from pipeline.stage import Context, Stage, StageConfig, discover
from pipeline.store import Store
from pipeline.task import LoadedTask
from tests.small_engine import ADD, COUNT, COUNTED, ONE, TWO, AddConfig, CountConfig, computed, made, numbers, plan_of
from tests.small_task import Bars, bars

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def outlooks(store: Store, *steps: Step, task: LoadedTask | None = None, seed: int = 0) -> dict[str, Outlook]:
    found = explain(plan_of(*steps), task or bars(), store, seed=seed, name="numbers")
    return {outlook.step: outlook for outlook in found}


def failing(step: Step, error: BaseException) -> Step:
    """Return the step with a stage that leaves a checkpoint and fails; its key is the same."""

    def fail(_inputs: Mapping[str, Artifact], _config: StageConfig, context: Context) -> Facts:
        (context.scratch / "checkpoint").write_text("half", encoding="utf-8")
        raise error

    return replace(step, stage=replace(step.stage, run=fail))


def changed_version(step: Step) -> Step:
    return replace(step, stage=replace(step.stage, version=2))


def test_steps_build_on_each_other(store: Store) -> None:
    assert numbers(made(store)) == [90, 91, 93]


def test_a_second_run_makes_nothing(store: Store) -> None:
    first, second = made(store), made(store)

    assert (computed(first), computed(second)) == (["count", "one", "two"], [])
    assert [done.artifact for done in first] == [done.artifact for done in second]


def test_progress_is_told_with_its_step(store: Store) -> None:
    told: list[tuple[str, int, int]] = []

    list(
        run(
            plan_of(),
            bars(),
            store,
            seed=0,
            name="x",
            watch=lambda step, at: told.append((step.name, at.done, at.total)),
        )
    )

    assert told == [("count", 0, 1), ("one", 0, 1), ("one", 1, 2), ("two", 0, 1), ("two", 1, 2)]


@pytest.mark.parametrize(
    ("steps", "again"),
    [
        ((replace(COUNTED, config=CountConfig(step=2)), ONE, TWO), ["count", "one", "two"]),
        ((COUNTED, replace(ONE, config=AddConfig(by=7)), TWO), ["one", "two"]),
        ((COUNTED, ONE, replace(TWO, config=AddConfig(by=7))), ["two"]),
        ((COUNTED, changed_version(ONE), TWO), ["one"]),
        ((COUNTED, replace(ONE, config=AddConfig(by=1, limit=1000)), TWO), ["one"]),
        ((COUNTED, replace(ONE, stage=replace(ADD, libraries=("numpy",))), TWO), ["one"]),
        ((COUNTED, replace(ONE, name="renamed"), replace(TWO, inputs={"number": "renamed"})), []),
    ],
)
def test_what_changed_is_made_again_and_what_follows_only_if_its_inputs_bytes_differ(
    store: Store, steps: tuple[Step, ...], again: list[str]
) -> None:
    made(store)

    assert computed(made(store, *steps)) == again


def test_another_seed_is_another_result(store: Store) -> None:
    made(store)

    assert computed(made(store, seed=1)) == ["count", "one", "two"]


@pytest.mark.parametrize(
    ("members", "again"),
    [
        ({"loss": lambda _self, output, _target: output.sum()}, ["one", "two"]),
        ({"student": lambda _self: Bars().student()}, []),
        ({"teachers": lambda _self: {}}, []),
        ({"name": "other", "labels": ["a"]}, []),
    ],
)
def test_only_the_parts_of_the_task_that_a_stage_reads_count(
    store: Store, members: dict[str, Any], again: list[str]
) -> None:
    root = Path(__file__).parents[1]
    made(store, task=LoadedTask(Bars(), root))

    task = LoadedTask(type("Variant", (Bars,), members)(), root)

    assert computed(made(store, task=task)) == again


WRITERS = [stage for stage in discover().values() if "metadata_of" in stage.run.__globals__]


@pytest.mark.parametrize("stage", WRITERS, ids=[stage.name for stage in WRITERS])
def test_what_travels_in_a_stage_s_files_is_in_its_key(stage: Stage) -> None:
    def key(**members: Any) -> str:
        task = LoadedTask(type("Variant", (Bars,), members)(), ROOT / "tests")
        return key_of(key_parts(Step(stage.name, replace(stage, libraries=()), stage.config(), {}), {}, task, seed=0))

    keys = {key(), key(name="other"), key(labels=["a"]), key(preprocessing={"mean": "0.5"})}

    assert len(keys) == 4
    assert "edgepress" in stage.libraries


def test_fewer_samples_are_other_data(store: Store) -> None:
    made(store)

    assert computed(made(store, task=bars(samples=50))) == ["count", "one", "two"]


def test_a_key_names_all_that_a_result_may_depend_on(store: Store) -> None:
    done = {one.step.name: one for one in made(store)}

    parts = key_parts(ONE, {"number": done["count"].artifact}, bars(), seed=0)

    assert sorted(parts) == ["config", "inputs", "libraries", "seed", "stage", "task", "version"]
    assert (parts["inputs"], parts["config"]) == ({"number": done["count"].artifact.digest}, {"by": 1, "limit": 10**9})
    assert key_of(parts) == done["one"].record.key
    assert done["one"].record.parts == parts


def test_where_it_was_made_stands_beside_a_result_and_not_in_its_key(store: Store) -> None:
    record = made(store)[0].record

    assert {"machine", "python", "system"} <= set(record.circumstances)
    assert not {"machine", "python", "system"} & set(record.parts)
    assert record.seconds >= 0


@pytest.mark.parametrize("error", [TaskError("wrong"), KeyboardInterrupt(), MemoryError()])
def test_a_step_that_stops_keeps_its_checkpoint_and_what_was_made_before(store: Store, error: BaseException) -> None:
    with pytest.raises(type(error)):
        made(store, COUNTED, failing(ONE, error), TWO)

    assert [path.name for path in store.root.glob("scratch/*/checkpoint")] == ["checkpoint"]
    assert list(store.root.glob("objects/draft-*")) == []
    assert computed(made(store)) == ["one", "two"]
    assert list(store.root.glob("scratch/*")) == []


def test_a_step_goes_on_from_its_own_scratch(store: Store) -> None:
    def go_on(inputs: Mapping[str, Artifact], config: AddConfig, context: Context) -> Facts:
        facts = ADD.run(inputs, config, context)
        return {**facts, "found": (context.scratch / "checkpoint").read_text(encoding="utf-8")}

    with pytest.raises(TaskError):
        made(store, COUNTED, failing(ONE, TaskError("wrong")))
    done = made(store, COUNTED, replace(ONE, stage=replace(ADD, run=go_on)))

    assert done[1].artifact.facts["found"] == "half"


@pytest.mark.parametrize("step", ["count", "one", "two"])
def test_a_damaged_object_is_made_again_with_the_same_bytes_and_nothing_else_is(store: Store, step: str) -> None:
    before = {done.step.name: done.artifact for done in made(store)}
    (before[step].path / "costs.json").write_text("666", encoding="utf-8")

    with pytest.warns(UserWarning, match="is damaged or gone"):
        again = made(store)

    assert computed(again) == [step]
    assert {done.step.name: done.artifact.digest for done in again} == {name: a.digest for name, a in before.items()}


def test_a_mistake_in_the_task_is_told_before_anything_is_made(store: Store) -> None:
    task = LoadedTask(type("Broken", (Bars,), {"student": lambda _self: 3})(), Path())

    with pytest.raises(TaskError, match="student gave a int"):
        made(store, task=task)
    assert list((store.root / "objects").iterdir()) == []


def test_a_cached_run_does_not_try_the_student(store: Store) -> None:
    made(store)

    assert computed(made(store, task=LoadedTask(type("Broken", (Bars,), {"student": lambda _self: 3})(), Path()))) == []


def test_a_library_that_is_not_there_is_told(store: Store) -> None:
    step = replace(COUNTED, stage=replace(COUNT, libraries=("no-such-library",)))

    with pytest.raises(MissingExtraError, match="no-such-library isn't installed, and a step of this recipe needs it"):
        made(store, step)


class TestProcesses:
    """Real ones, at once and killed."""

    @contextmanager
    def engine(self, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "tests.small_engine", *map(str, arguments)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def test_two_runs_at_once_make_each_step_once(self, store: Store, tmp_path: Path) -> None:
        log, wait = tmp_path / "log", tmp_path / "wait"
        wait.touch()
        with self.engine(store.root, log, wait) as one, self.engine(store.root, log, wait) as other:
            for process in (one, other):
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            wait.unlink()

            assert (one.wait(60), other.wait(60)) == (0, 0)
        assert sorted(log.read_text(encoding="utf-8").split()) == ["count", "one", "two"]
        assert computed(made(store)) == []

    def test_a_run_that_was_killed_goes_on_with_the_step_that_it_was_at(self, store: Store, tmp_path: Path) -> None:
        log, wait = tmp_path / "log", tmp_path / "wait"
        made(store, COUNTED)
        wait.touch()
        with self.engine(store.root, log, wait) as process:
            while process.poll() is None and not log.exists():
                pass
            process.kill()
            process.wait()

        assert computed(made(store)) == ["one", "two"]
        assert numbers(made(store)) == [90, 91, 93]


class TestExplain:
    """Cached or not, and which part of the key changed."""

    def test_before_the_first_run_nothing_was_ever_made(self, store: Store) -> None:
        assert [(o.cached, o.changed) for o in outlooks(store).values()] == [(False, ("never made",))] * 3

    def test_after_a_run_all_is_cached(self, store: Store) -> None:
        made(store)

        assert [(o.cached, o.changed) for o in outlooks(store).values()] == [(True, ())] * 3

    @pytest.mark.parametrize(
        ("change", "changed"),
        [
            (lambda step: replace(step, config=AddConfig(by=7)), ("config.by",)),
            (changed_version, ("version",)),
            (lambda step: replace(changed_version(step), config=AddConfig(by=7, limit=8)), ("config.by", "config.limit", "version")),
            (lambda step: replace(step, stage=replace(ADD, libraries=("numpy",))), ("libraries.numpy",)),
            (lambda step: replace(step, stage=replace(ADD, name="sum")), ("stage",)),
        ],
    )  # fmt: skip
    def test_the_changed_part_is_named_and_what_waits_for_it(
        self, store: Store, change: Callable[[Step], Step], changed: tuple[str, ...]
    ) -> None:
        made(store)

        found = outlooks(store, COUNTED, change(ONE), TWO)

        assert found["count"].cached
        assert found["one"] == Outlook("one", cached=False, changed=changed)
        assert found["two"] == Outlook("two", cached=False, changed=("inputs.number",))

    def test_a_changed_part_of_the_task_and_another_seed_are_named(self, store: Store) -> None:
        root = Path(__file__).parents[1]
        made(store, task=LoadedTask(Bars(), root))
        task = LoadedTask(type("Variant", (Bars,), {"loss": lambda _self, output, _target: output.sum()})(), root)

        assert outlooks(store, task=task)["one"].changed == ("task.loss",)
        assert outlooks(store, task=LoadedTask(Bars(), root), seed=5)["count"].changed == ("seed",)
        assert outlooks(store, task=LoadedTask(Bars(samples=50), root))["count"].changed == ("task.data.train",)

    def test_a_damaged_object_is_named(self, store: Store) -> None:
        (made(store)[1].artifact.path / "costs.json").unlink()

        with pytest.warns(UserWarning, match="is damaged or gone"):
            assert outlooks(store)["one"].changed == ("damaged or gone",)

    def test_after_a_run_that_stopped_it_says_what_is_left(self, store: Store) -> None:
        with pytest.raises(TaskError):
            made(store, COUNTED, failing(ONE, TaskError("wrong")), TWO)

        assert [(o.step, o.cached, o.changed) for o in outlooks(store).values()] == [
            ("count", True, ()),
            ("one", False, ("never made",)),
            ("two", False, ("never made",)),
        ]

    def test_it_makes_nothing(self, store: Store) -> None:
        made(store, COUNTED)
        before = sorted(path.relative_to(store.root) for path in store.root.rglob("*"))

        outlooks(store)

        assert sorted(path.relative_to(store.root) for path in store.root.rglob("*")) == before
