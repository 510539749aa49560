"""What the study of pruning by cost kept says what its README tells; see tests/evidence/latency_pruning."""

from statistics import mean

import pytest

from tests.evidence.latency_pruning.run import BY_COST, BY_MACS, RESULTS, difference, finished, results, table

README = RESULTS.with_name("README.md").read_text(encoding="utf-8")


def test_the_readme_s_table_is_that_of_the_results() -> None:
    assert [line for line in table(results()).splitlines() if line not in README] == []
    assert "digits" in finished(results())


@pytest.mark.parametrize("task", finished(results()))
def test_at_the_same_counted_cost_more_of_the_speed_up_arrives_and_no_score_is_lost(task: str) -> None:
    found = {(each["seed"], each["way"]): each for each in results() if each["task"] == task}
    for seed in {seed for seed, _ in found}:
        by_macs, by_cost = found[seed, BY_MACS], found[seed, BY_COST]
        assert by_cost["cost"] <= 1.001 * by_macs["cost"]
        ratios = [each["macs_share"] * each["whole_cost"] / each["cost"] for each in (by_macs, by_cost)]
        assert ratios[1] >= ratios[0]
    assert difference(results(), task)[2] > 0


def test_the_table_foretold_what_was_counted() -> None:
    errors = [each["foretold"] / each["cost"] - 1 for each in results() if each["foretold"]]

    assert len(errors) >= 5
    assert max(abs(error) for error in errors) < 0.03


def test_the_project_s_readme_tells_what_was_found_on_digits() -> None:
    text = " ".join((RESULTS.parents[3] / "README.md").read_text(encoding="utf-8").split())
    own = {
        way: [each for each in results() if (each["task"], each["way"]) == ("digits", way)]
        for way in (BY_MACS, BY_COST)
    }
    scores, macs = (
        {way: 100 * mean(each[key] for each in lines) for way, lines in own.items()} for key in ("score", "macs_share")
    )

    assert f"{scores[BY_COST]:.2f} % instead of {scores[BY_MACS]:.2f} % of the pictures" in text
    assert f"{macs[BY_COST]:.1f} % of the MACs left instead of {macs[BY_MACS]:.1f} %" in text
