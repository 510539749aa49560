"""edgepress fit: the cheapest network that keeps the budget, the same one each time, and in words what stands in the way."""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import RecipeError
from pipeline.fit.choice import best, excess, front, keeps, looser, wall, why
from pipeline.fit.found import Found, draw
from pipeline.fit.search import Searching
from pipeline.fit.space import Settings, applied, space_of
from pipeline.fit.trial import Fitness, Outcome
from pipeline.ledger import Spent
from pipeline.recipe import Budget, Recipe, read_recipe, recipe_from
from pipeline.stage import discover
from tests.small_search import fit, write

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
ROOT = Path(__file__).parents[2]
STAGES = discover()


def recipe(**content: Any) -> Recipe:
    whole = {"schema": 1, "name": "small", "task": "given", "targets": ["corstone-300"], **content}
    return recipe_from(whole, folder=Path(), where="test", stages=tuple(STAGES))


def fitness(drop: float, cost: float, size: float = 10.0, **changed: Any) -> Fitness:
    found = Fitness(
        target="corstone-300",
        score=1 - drop,
        drop=drop,
        drop_high=drop + 0.01,
        size_kib=size,
        cost=cost,
        quantity="latency",
        unit="us",
        label="estimated",
        latency_ms=cost / 1000,
        latency_high_ms=cost / 1000,
        macs=1000,
        parameters=100,
    )
    return replace(found, **changed)


def outcome(number: int, drop: float, cost: float, size: float = 10.0) -> Outcome:
    return Outcome(number, {"prune.keep_macs": cost}, (fitness(drop, cost, size),), 10.0, 5.0)


FAILED = Outcome(9, {}, (), 1.0, 0.0, "prune: collapsed")
TRIALS = [outcome(0, 0.00, 1000), outcome(1, 0.02, 500), outcome(2, 0.06, 300), outcome(3, 0.03, 700), FAILED]


def test_the_cheapest_trial_that_keeps_every_line_is_chosen() -> None:
    budget = Budget(max_drop=0.05, latency_ms=0.9)

    chosen = best(TRIALS, budget)

    assert chosen is TRIALS[1]
    assert [keeps(each, budget) for each in TRIALS] == [False, True, False, True, False]
    assert "trial 1 keeps every line" in why(chosen, TRIALS)
    assert "0.500 ms (estimated)" in why(chosen, TRIALS)


def test_of_equal_trials_the_more_certain_one_is_chosen() -> None:
    sure = Outcome(7, {}, (fitness(0.02, 500, drop_high=0.025),), 1.0, 0.0)

    assert best([*TRIALS, sure], Budget(max_drop=0.05)) is sure


def test_a_line_is_kept_by_the_upper_end_of_what_is_known() -> None:
    assert not keeps(outcome(0, 0.045, 100), Budget(max_drop=0.05))
    assert keeps(outcome(0, 0.045, 100), Budget(max_drop=0.06))


def test_what_the_next_looser_budget_would_buy_is_told_with_its_limit() -> None:
    budget = Budget(max_drop=0.05, latency_ms=0.9)

    assert looser(TRIALS[1], TRIALS, budget).startswith("with max_drop = 0.07 the cost would fall by 40%: trial 2")
    assert looser(TRIALS[2], TRIALS, Budget(max_drop=0.5)) == ""


def test_a_budget_that_nothing_keeps_is_told_by_its_wall_and_the_nearest() -> None:
    budget = Budget(max_drop=0.005, latency_ms=2)

    assert best(TRIALS, budget) is None
    assert "the wall is max_drop on corstone-300" in wall(TRIALS, budget)
    assert "trial 0:" in wall(TRIALS, budget)


def test_the_front_holds_what_nothing_beats_in_every_respect() -> None:
    assert [each.number for each in front(TRIALS)] == [0, 1, 2]


def test_the_front_is_that_of_the_upper_ends_which_the_budget_judges_and_the_picture_shows() -> None:
    likelier = Outcome(1, {}, (fitness(0.0593, 403, drop_high=0.0890),), 1.0, 0.0)
    surer = Outcome(3, {}, (fitness(0.0617, 320, drop_high=0.0889),), 1.0, 0.0)

    assert front([likelier, surer]) == [surer]


def test_excess_is_told_by_line_and_target() -> None:
    assert excess(TRIALS[0], Budget(size_kib=8, latency_ms=0.5)) == {
        "size_kib on corstone-300": pytest.approx(0.25),
        "latency_ms on corstone-300": pytest.approx(1.0),
    }


def test_a_latency_that_nothing_tells_keeps_no_budget() -> None:
    budget = Budget(latency_ms=0.6)
    unknown = Outcome(1, {}, (fitness(0.0, 100, latency_ms=None, latency_high_ms=None),), 1.0, 0.0)

    assert not keeps(unknown, budget)
    assert best([TRIALS[0], unknown], budget) is None
    assert excess(unknown, budget) == {"latency_ms on corstone-300": None}
    assert looser(TRIALS[1], [TRIALS[0], TRIALS[1], unknown], budget) == ""
    assert "the wall is latency_ms on corstone-300: unknown at the nearest" in wall([unknown], budget)
    told = json.dumps(Found(recipe(budget={"latency_ms": 0.6}), {}, (unknown,)).to_json(), allow_nan=False)
    assert json.loads(told)["kept"] is False


def test_trials_whose_costs_are_in_several_units_are_compared_by_macs() -> None:
    budget = Budget(size_kib=30)
    own, cheapest = (
        Outcome(number, {}, (fitness(0.0, macs, quantity="MACs", unit="MACs", label="exact", macs=macs),), 1.0, 0.0)
        for number, macs in ((0, 2_000_000), (1, 1_000_000))
    )
    timed = Outcome(2, {}, (fitness(0.0, 90, macs=1_500_000),), 1.0, 0.0)
    found = Found(recipe(budget={"size_kib": 30.0}), {}, (own, cheapest, timed))

    assert best(found.outcomes, budget) is cheapest
    assert "at the least MACs of 3 trials" in found.why
    assert "trial 1 at 50% of the recipe's own MACs" in found.newest
    assert [each.number for each in front([own, timed])] == [2]


def test_no_share_is_told_of_a_first_trial_that_ended_in_no_network() -> None:
    failed = replace(FAILED, number=0)
    found = Found(recipe(budget={"size_kib": 30.0}), {"prune.keep_macs": 1000}, (failed, TRIALS[1], TRIALS[2]))

    assert found.newest.endswith("; trial 2 keeps the budget; the recipe as it stands ended in no network")
    assert best(found.outcomes, Budget(size_kib=30)) is TRIALS[2]


@pytest.mark.parametrize(("limit", "over"), [(0.001, 9.0), (0.0, None)])
def test_an_excess_is_a_share_of_the_limit_itself_and_none_of_a_limit_of_nothing(limit: float, over: float) -> None:
    budget = Budget(max_drop=limit)

    assert excess(TRIALS[0], budget) == {"max_drop on corstone-300": over and pytest.approx(over)}
    assert not keeps(TRIALS[0], budget)
    assert f"max_drop on corstone-300: 0.01, above its limit of {limit:g}, at the nearest" in wall(TRIALS, budget)


@dataclass
class Model:
    """A bench whose networks are a formula: what is kept costs, what leaves is lost."""

    recipe: Recipe
    made: list[dict[str, Any]] = field(default_factory=list)

    def make(self, number: int, settings: Mapping[str, Any]) -> Outcome:
        self.made.append(dict(settings))
        kept, temperature = settings["prune.keep_macs"], settings["distill.temperature"]
        if kept < 0.3:
            return Outcome(number, settings, (), 1.0, 0.0, "prune: collapsed")
        drop = 0.06 * (1 - kept) + 0.004 * abs(temperature - 4)
        return Outcome(number, settings, (fitness(drop, 1000 * kept, 40 * kept),), 1.0, 0.0)


def searching(**changed: Any) -> Searching:
    own = recipe(
        budget={"max_drop": 0.05, "size_kib": 30.0}, distill={"temperature": 2.0}, fit={"trials": 30, **changed}
    )
    model, made = Model(own), list[int]()

    def make(jobs: Sequence[tuple[int, Settings]]) -> Iterator[Outcome]:
        made.extend(number for number, _ in jobs)
        return (model.make(*job) for job in jobs)

    a_watt_hour_and_a_bit_each = Spent(meter=lambda: 1.1 * len(made))
    return Searching(own, space_of(own, STAGES), make, a_watt_hour_and_a_bit_each)


def searched(**changed: Any) -> list[Outcome]:
    return list(searching(**changed))


def test_a_search_begins_with_the_recipe_and_ends_at_a_point_that_keeps_the_budget() -> None:
    outcomes = searched()
    chosen = best(outcomes, Budget(max_drop=0.05, size_kib=30.0))

    assert outcomes[0].settings["prune.keep_macs"] == 0.5
    assert outcomes[0].settings["distill.temperature"] == 2.0
    assert chosen is not None
    assert chosen.settings["prune.keep_macs"] == 0.35
    assert len({tuple(each.settings.items()) for each in outcomes}) == len(outcomes)


def test_the_same_search_asks_for_the_same_trials_and_more_trials_go_on_from_there() -> None:
    short, long = searched(trials=6, patience=50), searched(trials=12, patience=50)

    assert [each.settings for each in searched(trials=12, patience=50)] == [each.settings for each in long]
    assert [each.settings for each in long][:6] == [each.settings for each in short]


def test_a_search_ends_when_the_promise_is_kept_and_further_batches_gain_nothing() -> None:
    assert len(searched(patience=1)) < len(searched(patience=50)) <= 30


@pytest.mark.parametrize(
    ("changed", "trials", "said"),
    [
        ({"trials": 6, "patience": 50}, 6, "its 6 trials are made"),
        ({"patience": 1}, None, "the last batch made that cheaper by less than 2%"),
        ({"patience": 50, "trials": 900}, None, "the space holds little more than the"),
        ({"patience": 50, "hours": 1e-9}, 4, "1e-09 h are over; the same command goes on"),
        ({"patience": 50, "trials": 12, "watt_hours": 8.0}, 8, "8 Wh are used; the same command goes on"),
    ],
)
def test_a_search_says_why_it_ended(changed: dict[str, Any], trials: int | None, said: str) -> None:
    search = searching(**changed)
    assert search.ended == ""

    outcomes = list(search)

    assert said in search.ended
    assert trials in (None, len(outcomes))


def test_a_failed_trial_is_an_outcome_and_the_search_goes_on() -> None:
    outcomes = searched(patience=50)

    assert any(each.error for each in outcomes)
    assert any(each.fitness for each in outcomes)


def test_the_space_is_the_recipe_s_own_value_first_then_a_few_around_it() -> None:
    space = space_of(recipe(prune={"keep_macs": 0.6}, distill={"learning_rate": 0.01}), STAGES)

    assert space["prune.keep_macs"] == (0.6, 1.0, 0.7, 0.5, 0.35, 0.25)
    assert space["distill.learning_rate"] == (0.01, 0.04)


def test_what_the_recipe_gives_replaces_what_would_be_tried() -> None:
    own = recipe(
        fit={
            "space": {"prune.keep_macs": [0.3], "quantize.epochs": [1, 2]},
            "stages": [["teach", "prune", "quantize", "export"]],
        }
    )
    space = space_of(own, STAGES)

    assert space["prune.keep_macs"] == (0.5, 0.3)
    assert set(space["quantize.epochs"]) == {1, 2, STAGES["quantize"].config.model_fields["epochs"].default}
    turned = applied(own, {"prune.keep_macs": 0.3, "stages": space["stages"][1]})
    assert turned.stages == ("teach", "prune", "quantize", "export")
    assert turned.sections["prune"]["keep_macs"] == 0.3


def test_a_recipe_that_prunes_by_cost_is_searched_by_cost() -> None:
    space = space_of(recipe(prune={"until": "cycles = 60%"}), STAGES)

    assert space["prune.until"] == ("cycles = 60%", "cycles = 70%", "cycles = 50%", "cycles = 35%", "cycles = 25%")
    assert "prune.keep_macs" not in space


def test_a_named_student_is_tried_narrower_and_wider() -> None:
    own = recipe(student="dscnn-32-4")
    space = space_of(own, STAGES)

    assert space["student"] == ("dscnn-32-4", "dscnn-24-4", "dscnn-48-4", "dscnn-16-4")
    assert applied(own, {"student": "dscnn-24-4"}).student == "dscnn-24-4"
    assert applied(own, {"prune.keep_macs": 0.5}).student == "dscnn-32-4"
    assert "student" not in space_of(recipe(), STAGES)
    given = space_of(recipe(student="auto", fit={"space": {"student": ["resnet-8-1"]}}), STAGES)
    assert given["student"] == ("auto", "resnet-8-1")
    with pytest.raises(RecipeError, match=r"\[fit.space\] student: 'resnt-8-1' is no student"):
        space_of(recipe(fit={"space": {"student": ["resnt-8-1"]}}), STAGES)
    with pytest.raises(RecipeError, match=r"key 'student': .*is no student; write family-width-depth.*\"auto\""):
        recipe(student="resnt-8-1")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("prun.keep_macs", r"names no stage .* did you mean 'prune'"),
        ("keep_macs", r"names no stage"),
        ("prune.keep_mac", r"prune has no setting 'keep_mac'.*did you mean 'keep_macs'"),
    ],
)
def test_a_setting_that_nothing_has_is_one_line(key: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        space_of(recipe(fit={"space": {key: [1.0]}}), STAGES)


def test_the_picture_is_drawn_without_a_trace_of_the_day(tmp_path: Path) -> None:
    found = Found(recipe(budget={"max_drop": 0.05}), {"prune.keep_macs": 1000}, tuple(TRIALS))
    draw(found, tmp_path / "one.svg")
    draw(found, tmp_path / "other.svg")

    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    assert "dc:date" not in text


def test_what_a_trial_changes_is_printed_as_the_command_line_takes_it() -> None:
    settings = {
        "prune.until": "cycles = 50%",
        "quantize.deterministic": True,
        "stages": "teach,prune,distill,quantize,export",
    }
    own = {"prune.until": "", "quantize.deterministic": False, "stages": "teach,distill,quantize,export"}
    words = shlex.split(Found(recipe(), own, ()).settings_text(Outcome(1, settings, (), 0.0, 0.0)))

    read = read_recipe(Path("digits"), settings=words[1::2], stages=tuple(STAGES))

    assert words[::2] == ["--set"] * 3
    assert read.sections["prune"]["until"] == "cycles = 50%"
    assert read.sections["quantize"]["deterministic"] is True
    assert read.stages == ("teach", "prune", "distill", "quantize", "export")


@pytest.mark.timeout(900)
def test_a_search_makes_a_network_that_keeps_what_the_recipe_misses_and_repeats_for_nothing(tmp_path: Path) -> None:
    write(tmp_path, max_drop=0.9, size_kib=4.2)
    first = fit(tmp_path)
    told = json.loads((tmp_path / "out" / "fit.json").read_text(encoding="utf-8"))

    assert first.returncode == 0, first.stderr
    assert told["kept"]
    assert told["ended"] in first.stdout.replace("\n", " ")
    assert told["trials"][0]["excess"]["size_kib on corstone-300"] > 0
    assert told["settings"]["prune.keep_macs"] == 0.3
    report = json.loads((tmp_path / "out" / "corstone-300" / "report.json").read_text(encoding="utf-8"))
    sizes = [verdict for verdict in report["verdicts"] if verdict["budget"].startswith("size_kib")]
    assert {verdict["outcome"] for verdict in sizes} == {"kept"}
    assert (tmp_path / "out" / "fit.svg").exists()

    again = fit(tmp_path)
    repeated = json.loads((tmp_path / "out" / "fit.json").read_text(encoding="utf-8"))
    assert again.returncode == 0
    assert [trial["seconds"] for trial in repeated["trials"]] == [0.0] * 2
    assert repeated["chosen"] == told["chosen"]

    write(tmp_path, max_drop=0.9, size_kib=1.0)
    missed = fit(tmp_path)
    assert missed.returncode == 1
    assert "the wall is size_kib on corstone-300" in missed.stdout
