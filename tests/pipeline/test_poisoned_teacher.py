"""What the study of poisoned teachers kept says what the README promises; see tests/evidence/poisoned_teacher."""

import json
from pathlib import Path
from statistics import mean

import pytest

from tests.evidence.poisoned_teacher.run import JUDGED, POISONS, RESULTS, RULES, SEEDS, results, score_of, table

README = RESULTS.with_name("README.md")


def scores(poison: str, rule: str) -> dict[int, float]:
    return {run["seed"]: run["score"] for run in results() if (run["poison"], run["rule"]) == (poison, rule)}


@pytest.mark.parametrize("poison", POISONS)
def test_weighed_by_sample_the_student_is_within_half_a_point_of_the_good_teacher_alone(poison: str) -> None:
    alone = scores("none", "mean")

    for rule in (JUDGED, "learned"):
        found = scores(poison, rule)
        assert set(found) == set(alone) == set(SEEDS)
        assert mean(alone[seed] - found[seed] for seed in SEEDS) <= 0.005


def test_averaging_is_shown_beside_it_and_loses_more_where_answers_are_wrong() -> None:
    for poison in ("swapped classes", "noise"):
        assert mean(scores(poison, "mean").values()) < min(mean(scores(poison, rule).values()) for rule in RULES[1:])


def test_the_readme_s_table_is_that_of_the_results() -> None:
    lines = [line for line in table(results()).splitlines() if line.startswith("|")]
    text = README.read_text(encoding="utf-8")

    assert [line for line in lines if line not in text] == []
    assert json.loads(RESULTS.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_seed_run_again_gives_the_same_scores(tmp_path: Path) -> None:
    known = {("none", "mean"), ("swapped classes", JUDGED)}

    for poison, rule in known:
        assert score_of(0, poison, rule, tmp_path) == pytest.approx(scores(poison, rule)[0], abs=0.004)
