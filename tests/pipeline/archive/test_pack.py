"""What goes into an archive: all of a run, the same bytes each time, and what others can read of it."""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipeline.archive.pack import pack
from pipeline.archive.page import CHAPTER
from pipeline.archive.verify import verify
from pipeline.archive.words import recipe_toml
from pipeline.errors import ModelError, StoreError
from pipeline.recipe import BUILT_IN, recipe_from
from pipeline.report.html import run_page
from pipeline.report.model import Report
from pipeline.report.reading import Run
from pipeline.stage import discover
from tests.small_archive import members_of, written
from tests.small_run import write_run

STATED = {
    "licence": "MIT",
    "data": "bars | drawn by dice",
    "data_licence": "cc-by-4.0",
    "teacher": "a wide one",
    "teacher_licence": "a licence of its own",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, STATED)


def bom_of(archive: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(members_of(archive)["bom.cdx.json"])
    return content


def front_matter(archive: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(members_of(archive)["README.md"].decode().split("---\n")[1])
    return content


def test_it_holds_what_the_run_left_and_what_describes_it(run: Path) -> None:
    left = {path.name: path.read_bytes() for path in run.iterdir()}
    packed = pack(run)

    members = members_of(packed)
    assert packed == run / "bars-raspberry-pi-4.edgepress"
    assert {name: members[name] for name in left} == left
    added = {"README.md", "bom.cdx.json", "environment.txt", "index.json", "recipe.toml"}
    assert members.keys() - left.keys() == added
    assert verify(packed).problems == ()


def test_the_same_run_gives_the_same_bytes_anywhere(run: Path, tmp_path: Path) -> None:
    first = pack(run).read_bytes()
    elsewhere = shutil.copytree(run, tmp_path / "elsewhere")
    (elsewhere / "manifest.json").touch()

    assert pack(run).read_bytes() == first
    assert pack(elsewhere, out=tmp_path / "a.edgepress").read_bytes() == first


def page_of(*reports: Report) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.report.html.library", lambda: "")  # a megabyte that draws the charts
        return run_page(Run(Path(), reports))


def test_a_page_that_was_made_of_the_report_travels_along(run: Path, own: Report) -> None:
    (run / "report.html").write_text(page_of(own))
    packed = pack(run)

    assert members_of(packed)["report.html"] == page_of(own).encode()
    assert verify(packed).passed
    assert "report.html" in {each["name"] for each in bom_of(packed)["metadata"]["component"]["components"]}


@pytest.fixture
def own(run: Path) -> Report:
    return Report.model_validate_json((run / "report.json").read_bytes())


def test_the_runs_page_travels_along_where_it_tells_of_this_target_alone(run: Path, own: Report) -> None:
    told: list[str] = []
    (run.parent / "report.html").write_text(page_of(own))
    packed = pack(run, say=told.append)

    assert members_of(packed)["report.html"] == page_of(own).encode()
    assert verify(packed).problems == ()
    assert "report.html" in {each["name"] for each in bom_of(packed)["metadata"]["component"]["components"]}
    assert told == []
    altered = {**members_of(packed), "report.html": b"a better one"}
    assert verify(written(run / "altered.edgepress", altered)).problems[0].startswith("report.html: ")


def test_the_targets_own_page_is_taken_before_the_runs(run: Path, own: Report) -> None:
    (run.parent / "report.html").write_text(page_of(own))
    (run / "report.html").write_text(page_of(own) + "<!-- its own -->")

    assert members_of(pack(run))["report.html"].endswith(b"<!-- its own -->")


def test_a_page_that_an_earlier_run_left_beside_the_files_makes_way_for_the_runs(run: Path, own: Report) -> None:
    (run / "report.html").write_text(page_of(own.model_copy(update={"made_at": "2025-01-01T00:00:00+00:00"})))
    (run.parent / "report.html").write_text(page_of(own))

    assert members_of(pack(run))["report.html"] == page_of(own).encode()


def test_the_runs_page_is_found_from_within_the_folder(run: Path, own: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.parent / "report.html").write_text(page_of(own))
    monkeypatch.chdir(run)

    assert "report.html" in members_of(pack(Path()))


def test_a_page_that_tells_of_more_or_of_another_run_stays_and_that_is_said(run: Path, own: Report) -> None:
    page, told = run.parent / "report.html", list[str]()
    assert own.reproduction is not None
    other_files = own.reproduction.model_copy(update={"files": {"model.onnx": "0" * 64}})
    others = (
        page_of(own, own.model_copy(update={"target": "pixel-8"})),
        page_of(own.model_copy(update={"made_at": "2025-01-01T00:00:00+00:00"})),
        page_of(own.model_copy(update={"target": "pixel-8"})),
        page_of(own.model_copy(update={"reproduction": other_files})),
        "<!doctype html>",
    )

    for other in others:
        page.write_text(other)
        assert "report.html" not in members_of(pack(run, say=told.append))
    said = f"{page} is not of this run on raspberry-pi-4 alone, so no page is packed; edgepress report {run} writes one"
    assert told == [said] * len(others)


def test_a_text_in_a_report_does_not_pass_for_a_part_of_a_page(run: Path, own: Report) -> None:
    posing = own.model_copy(update={"recipe": CHAPTER, "target": f"<h2>{own.target}</h2>"})
    (run.parent / "report.html").write_text(page_of(posing))

    assert "report.html" not in members_of(pack(run))


@pytest.mark.parametrize("provenance", [{}, STATED])
def test_the_bill_of_materials_keeps_to_cyclonedxs_schema(tmp_path: Path, provenance: dict[str, str]) -> None:
    text = members_of(pack(write_run(tmp_path, provenance)))["bom.cdx.json"].decode()

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_bill_of_materials_names_model_data_teacher_and_libraries(run: Path) -> None:
    content = bom_of(pack(run))
    model = content["metadata"]["component"]
    found = {each["bom-ref"]: each for each in content["components"]}

    assert model["type"] == "machine-learning-model"
    assert {each["type"] for each in model["components"]} == {"file"}
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    bounds = {"lowerBound": "0.95", "upperBound": "0.9875"}
    told = "int8 onnx, test split, 95 % interval"
    assert {"type": "accuracy", "value": "0.975", "slice": told, "confidenceInterval": bounds} in metrics
    assert any(each["slice"] == "int8 onnx on host, onnxruntime 1.31.1, 1 thread: measured" for each in metrics)
    assert model["licenses"] == [{"license": {"id": "MIT"}}]
    assert found["data:train"]["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert found["teacher:wide"]["licenses"] == [{"license": {"name": "a licence of its own"}}]
    assert found["library:numpy"]["purl"].startswith("pkg:pypi/numpy@")
    assert found["library:torch"]["purl"].startswith("pkg:pypi/torch@")
    assert "+" not in found["library:torch"]["purl"]
    assert found["library:edgepress"]["purl"].startswith("pkg:generic/edgepress@")
    assert {*content["dependencies"][0]["dependsOn"]} == found.keys()


def test_what_nobody_stated_is_said_to_be_not_stated(tmp_path: Path) -> None:
    packed = pack(write_run(tmp_path))

    assert bom_of(packed)["metadata"]["component"]["licenses"] == [{"license": {"name": "not stated"}}]
    assert front_matter(packed)["license"] == "unknown"
    assert "- licence of the data: not stated" in members_of(packed)["README.md"].decode()


def test_the_model_card_is_one_that_the_hub_reads(run: Path, tmp_path: Path) -> None:
    packed = pack(run)
    (tmp_path / "README.md").write_bytes(members_of(packed)["README.md"])
    code = (
        "import sys; from huggingface_hub import ModelCard\n"
        "data = ModelCard.load(sys.argv[1]).data\n"
        "print(data.license, data.tags, [(each.metric_type, each.metric_value, each.metric_name) for each in data.eval_results])"
    )

    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "README.md"], capture_output=True, text=True, check=True
    ).stdout

    assert told == (
        "mit ['edgepress', 'onnx', 'tflite'] [('accuracy', 0.975, 'int8 onnx'), ('accuracy', 0.975, 'int8 tflite')]\n"
    )


def test_the_model_card_tells_scores_latency_interfaces_and_licences(run: Path) -> None:
    text = members_of(pack(run))["README.md"].decode()

    score = "0.9750 [0.9500, 0.9875]"
    assert f"| int8 onnx | {score} | +0.0010 [-0.0100, +0.0100] | 100 | 1,000 |" in text
    assert f"| teacher wide | {score} |  | 100 | 1,000 | 0.0 KiB |" in text
    assert "| int8 onnx | host | onnxruntime 1.31.1 | 1 | 0.120 [0.110, 0.130] ms | measured |" in text
    assert "None of these devices is raspberry-pi-4." in text
    assert "Classes, in the outputs' order: top, upper, lower, bottom." in text
    assert "- budget, size_kib, int8 onnx: kept (the file's size)" in text
    assert "- licence of the teachers: a licence of its own" in text
    assert "- data: bars | drawn by dice" in text


@pytest.mark.parametrize("name", sorted(path.stem for path in BUILT_IN.glob("*.toml")))
def test_the_recipe_as_toml_is_the_recipe(name: str) -> None:
    stages = tuple(discover())
    source = tomllib.loads((BUILT_IN / f"{name}.toml").read_text(encoding="utf-8"))
    source |= {"devices": {"pixel-8": "adb:1"}, "ledger": {"country": "DEU", "price_per_hour": 1e-7}}
    source["fit"] = {"space": {"prune.keep_macs": [0.5, 0.25]}, "stages": [["teach", "distill", "export"]]}
    recipe = recipe_from(source, folder=Path(), where="here", stages=stages)

    text = recipe_toml(json.loads(json.dumps(recipe.model_dump(mode="json", exclude={"folder"}))))
    assert recipe_from(tomllib.loads(text), folder=Path(), where="there", stages=stages) == recipe


def test_odd_texts_survive_as_toml() -> None:
    texts = ["plain", 'a "quote"', "back\\slash", "line\nbreak\ttab", "\x7f\x01", "ü 中 😀", ""]
    sections = {"distill": {"texts": texts, "a b.c": {"d e": 1.5, "f": True}, "empty": []}, "prune": {}}

    text = recipe_toml({"schema_": 1, "name": "a", "devices": {}, "ledger": None, "sections": sections})
    assert tomllib.loads(text) == {"schema": 1, "name": "a", **sections}


def test_the_environment_is_what_pip_takes(run: Path) -> None:
    lines = members_of(pack(run))["environment.txt"].decode().splitlines()

    assert lines[0].startswith("# Python 3.")
    assert [line for line in lines[1:] if len(line.split("==")) != 2] == []
    names = [line.partition("==")[0] for line in lines[1:]]
    assert {"torch", "numpy", "onnx", "pydantic"} <= set(names)
    assert "edgepress" not in names  # an index would give another's


def test_a_run_that_was_altered_is_not_packed(run: Path) -> None:
    (run / "report.md").write_text("better than it is")

    with pytest.raises(ModelError, match=r"can't be packed: report\.md: the manifest says sha256"):
        pack(run)
    assert [*run.glob("*.edgepress")] == []


def test_what_is_no_runs_folder_is_told_in_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give the folder that a run left for one target"):
        pack(run.parent)
    (run / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"can't read .*model.onnx"):
        pack(run)
    (run / "manifest.json").write_text('{"schema": 1, "files": {"../a": ""}}')
    with pytest.raises(ModelError, match="run the recipe again: what it made before is found in the store"):
        pack(run)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"no manifest\.json"):
        pack(tmp_path / "file")


def test_a_run_that_exported_nothing_is_not_packed(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    (run / "manifest.json").write_text(json.dumps({**manifest, "artifacts": {}}))

    with pytest.raises(ModelError, match="exported no model; put export last"):
        pack(run)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda made: made["artifacts"]["model.onnx"].update(row="none"), r"model\.onnx: the report's figures of 'none'"),
        (lambda made: made["artifacts"].update({"model.gone": made["artifacts"]["model.onnx"]}), r"model\.gone: the manifest doesn't say which step"),
        (lambda made: made["recipe"].pop("task"), r"manifest\.json isn't one that this version reads \(recipe\.task"),
        (lambda made: made["task"].pop("data.test"), r"task has no fingerprint data\.test"),
    ],
)  # fmt: skip
def test_a_manifest_without_what_the_card_and_the_bill_tell_is_told_in_one_line(
    run: Path, edit: Callable[[dict[str, Any]], object], told: str
) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    edit(manifest)
    (run / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ModelError, match=told) as raised:
        pack(run)
    assert "\n" not in str(raised.value)


def test_a_manifest_that_names_no_report_is_told_in_one_line(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    del manifest["files"]["report.json"]
    (run / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ModelError, match=r"report\.json isn't one that this version reads"):
        pack(run)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["../../secret"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ModelError, match="which is no plain file"):
        pack(run)


def test_an_archive_that_cannot_be_written_leaves_nothing(run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()

    with pytest.raises(StoreError, match="name another folder with --out"):
        pack(run, out=tmp_path / "taken")
    assert [*(tmp_path / "taken").iterdir()] == []


def test_no_verb_on_an_archive_loads_torch_or_a_runtime(run: Path) -> None:
    code = (
        "import sys; from pipeline.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'flatbuffers', 'cryptography'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    packed = str(run / "bars-raspberry-pi-4.edgepress")
    told = [
        subprocess.run([sys.executable, "-P", "-c", code, *each], capture_output=True, text=True, check=True).stderr
        for each in (["pack", str(run)], ["verify", packed], ["inspect", packed])
    ]

    assert told == ["['flatbuffers', 'onnx']\n", "[]\n", "[]\n"]
