"""What the study of distillation kept says what its README tells; see tests/evidence/distillation."""

import pytest

from tests.evidence.distillation.cases import CASES
from tests.evidence.distillation.run import RESULTS, SEEDS, found, results
from tests.evidence.distillation.table import audit_in_words, by_seed, difference, finished, known, table

README = RESULTS.with_name("README.md").read_text(encoding="utf-8")
GAINS = {"tweets": "adaptive", "keywords": "averaged", "digits, 150 of them": "averaged"}
"""Tasks on which the README says that a student gains, and what it says gains most."""


def test_the_readme_s_tables_are_those_of_the_results() -> None:
    assert [line for line in table(results()).splitlines() if line not in README] == []
    assert audit_in_words(results()) in README


@pytest.mark.parametrize(("task", "arm"), GAINS.items())
def test_the_student_gains_where_the_readme_says_so_on_five_seeds(task: str, arm: str) -> None:
    assert task in known(results())
    assert set(by_seed(results(), task, "alone")) == set(SEEDS)
    assert difference(results(), task, arm)[0] > 0


def test_every_arm_that_is_told_was_run_on_the_same_seeds() -> None:
    told = {
        (task, arm): tuple(sorted(by_seed(results(), task, arm)))
        for task in known(results())
        for arm in finished(results(), task)
    }

    assert set(told.values()) == {tuple(SEEDS)}
    assert {(task, arm) for task in CASES for arm in CASES[task].arms} <= set(told)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_seed_run_again_gives_the_same_scores(tmp_path_factory: pytest.TempPathFactory) -> None:
    work = tmp_path_factory.mktemp("study")

    for arm in ("alone", "soft targets", "adaptive"):
        score = by_seed(results(), "digits, 150 of them", arm)[0]
        assert found("digits, 150 of them", 0, arm, work)["score"] == pytest.approx(score, abs=0.004)
