"""What the study on a GPU kept says what its README tells, and the project's; see tests/evidence/cuda."""

from tests.evidence.cuda.run import RESULTS, TRAININGS, faults, results, scores, table

README = RESULTS.with_name("README.md").read_text(encoding="utf-8")
MENDED = {f"quantize a GRU at {precision}" for precision in ("32-true", "bf16-mixed", "16-mixed")}
"""Broke in that run, and was mended after it; no GPU has seen it since, as the README says."""


def test_the_readme_s_tables_are_those_of_the_results() -> None:
    assert [line for line in table(results()).splitlines() if line not in README] == []


def test_nothing_broke_but_what_the_readme_names() -> None:
    assert {line.partition(":")[0] for line in faults(results())} == MENDED
    assert "GRU" in README


def test_a_gpu_s_scores_lie_within_the_spread_of_the_seeds() -> None:
    here, there = scores(results(), "cpu"), scores(results(), "cuda")

    assert len(here) == len(there) == 3
    assert abs(sum(there) - sum(here)) / 3 < max(max(each) - min(each) for each in (here, there))


def test_each_training_was_killed_three_times_at_each_precision_and_gave_the_same_digest() -> None:
    found = results()["resumed"]

    assert {(each["precision"], each["stage"]) for each in found} == {
        (precision, stage) for precision in ("32-true", "bf16-mixed", "16-mixed") for stage in TRAININGS
    }
    assert all(each["equal"] and each["kills"] == 3 for each in found)


def test_what_was_saved_answers_on_the_processor_as_on_the_gpu() -> None:
    for each in results()["loaded"].values():
        assert each["same_class"] == 1.0
        assert each["largest_difference"] < 1e-2 * each["largest_output"]


def test_the_project_s_readme_tells_what_was_found() -> None:
    text = " ".join((RESULTS.parents[3] / "README.md").read_text(encoding="utf-8").split())
    seconds = results()["epoch_seconds"]
    digits, wide = (seconds[name] for name in seconds if "ResNet-20" in name)

    for each in (digits, wide):
        told = f"{each['cpu, 16 threads']:.2f} s on 16 threads to {each['cuda, 32-true']:.2f} s"
        assert told in text
    assert results()["machine"]["device"].startswith("NVIDIA H100")
