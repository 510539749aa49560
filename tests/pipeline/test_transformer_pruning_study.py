"""What the study of pruned text networks kept says what its README promises; see tests/evidence/transformer_pruning."""

import pytest

from tests.evidence.transformer_pruning.run import FORMS, RESULTS, STUDENTS, results, table

README = RESULTS.with_name("README.md").read_text(encoding="utf-8")
FIRST, *_, LAST = FORMS


@pytest.mark.parametrize("student", STUDENTS)
def test_the_smallest_form_is_much_smaller_and_cheaper_and_about_as_good(student: str) -> None:
    found = {line["form"]: line for line in results() if line["student"] == student}
    first, last = found[FIRST], found[LAST]

    assert set(found) == set(FORMS)
    assert last["parameters"] * 9 < first["parameters"]
    for file in ("onnx", "tflite"):
        assert last[file]["bytes"] * 5 < first[file]["bytes"]
        assert last[file]["instructions"] < 0.6 * first[file]["instructions"]
        assert last[file]["score"] > first[file]["score"] - 0.03


def test_every_form_came_back_from_disk_bit_for_bit_and_both_files_score_alike() -> None:
    assert all(line["rebuilt_equal"] for line in results())
    assert all(abs(line["onnx"]["score"] - line["tflite"]["score"]) < 0.005 for line in results())


def test_the_readme_s_table_is_that_of_the_results() -> None:
    assert [line for line in table(results()).splitlines() if line not in README] == []


def test_the_project_s_readme_tells_the_first_and_the_last_of_the_text_encoder() -> None:
    text = (RESULTS.parents[3] / "README.md").read_text(encoding="utf-8")
    for line in results():
        if line["student"] == "text encoder" and line["form"] in (FIRST, LAST):
            tflite = line["tflite"]
            size, counts = f"{tflite['bytes'] / 1e3:,.0f} KB", f"{tflite['instructions'] / 1e6:.2f} M instructions"
            assert f"| {line['parameters']:,} | {size} | {counts} | {100 * tflite['score']:.2f} % |" in text
