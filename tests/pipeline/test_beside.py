"""What a task sends along lies beside the files, under plain names, in bounds."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifact import file_digest
from pipeline.deliver import deliver
from pipeline.errors import TaskError
from pipeline.plan import Plan
from pipeline.recipe import DEFAULT_STAGES, recipe_from
from pipeline.report.made import Made
from pipeline.task_file import wrap_task
from tests.small_report import report
from tests.small_task import Bars, bars


class Sender(Bars):
    """Bars that travel with a reader's notes."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found

    def files(self) -> Any:
        return self.found


def refusal(found: Any) -> str:
    with pytest.raises(TaskError) as caught:
        wrap_task(Sender(found)).rehearse()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_task_that_sends_nothing_along_needs_to_say_nothing() -> None:
    assert bars().files == {}


@pytest.mark.parametrize("found", [["a"], {"a": 3}, {"a": None}, None])
def test_what_is_no_dict_of_contents_is_refused_before_the_work_begins(found: Any) -> None:
    assert "files() must return a dict of texts or bytes by name" in refusal(found)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a/b", "../a", "/a", ".a", "a\0", 3, "a" * 101),
        *("model.onnx", "Report.json", "manifest.json", "README.md", "index.json.sig", "bom.cdx.json", "recipe.toml"),
    ],
)
def test_a_name_that_could_lie_elsewhere_or_on_our_own_files_is_refused(name: Any) -> None:
    assert "names" in refusal({name: "x"})


def test_names_that_differ_in_case_alone_are_refused() -> None:
    assert "letters' case alone" in refusal({"Words.txt": "x", "words.txt": "y"})


def test_it_is_delivered_and_stands_in_the_manifest(tmp_path: Path) -> None:
    task = wrap_task(Sender({"tokenizer.json": "{}", "front_end.bin": b"\xff\x00"}))
    settings = {"schema": 1, "name": "bars", "task": "bars", "targets": ["pixel-8"]}
    recipe = recipe_from(settings, folder=tmp_path, where="here", stages=[*DEFAULT_STAGES])
    made = Made(recipe=recipe, plan=Plan(steps=(), rows=(), program="", files=()), task=task, done={})
    deliver(report(), made, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))

    assert (tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8") == "{}"
    assert (tmp_path / "out" / "front_end.bin").read_bytes() == b"\xff\x00"
    assert manifest["files"]["front_end.bin"] == file_digest(tmp_path / "out" / "front_end.bin")


def test_too_much_is_refused() -> None:
    assert "files() gives 65 MiB; give at most 64 MiB" in refusal({"a": bytes(65 * 2**20)})
