"""Deliver: put a run's files and reports where the user asked, whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.artifact import canonical_json, file_digest, list_files
from pipeline.drafted import drafted
from pipeline.environment import environment
from pipeline.plan import Row
from pipeline.provenance import stated
from pipeline.report.made import Made
from pipeline.report.model import Report
from pipeline.report.text import to_markdown
from pipeline.task import PARTS, SPLITS

DELIVERED = ("model.onnx", "model.tflite", "report.json", "report.md", "manifest.json")


def deliver(report: Report, made: Made, folder: Path) -> tuple[Path, ...]:
    """Write DELIVERED, and what the task sends along (`files`), into `folder`, each by rename; return what lies there now."""
    with drafted(folder, (*made.task.files, *DELIVERED)) as draft:
        _write(report, made, draft)
        kept = {path.name for path in draft.iterdir()}
    for name in set(DELIVERED) - kept:  # an older run's, of a format that this one doesn't make
        (folder / name).unlink(missing_ok=True)
    return tuple(folder / name for name in sorted(kept))


def _write(report: Report, made: Made, draft: Path) -> None:
    for row in made.file_rows():
        artifact = made.done[row.model].artifact
        name = f"model.{artifact.kind}"
        shutil.copyfile(artifact.file(name), draft / name)
    for name, content in made.task.files.items():
        (draft / name).write_bytes(content)
    (draft / "report.json").write_text(json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (draft / "report.md").write_text(to_markdown(report), encoding="utf-8")
    files = {path.name: file_digest(path) for path in sorted(draft.iterdir())}
    (draft / "manifest.json").write_text(canonical_json(_manifest(report, made, files)) + "\n", encoding="utf-8")


def _manifest(report: Report, made: Made, files: dict[str, str]) -> dict[str, Any]:
    """What made these files: enough to make them again and to see whether they were altered."""
    return {
        "schema": 1,
        "files": files,
        "recipe": made.recipe.model_dump(mode="json", exclude={"folder"}),
        "target": report.target,
        "made_at": report.made_at,
        "toolchain": report.toolchain,
        "seed": made.recipe.seed,
        "task": {part: made.task.fingerprint(part) for part in PARTS},
        "samples": {split: len(made.task.splits[split]) for split in SPLITS},
        "labels": list(made.task.labels),
        "preprocessing": dict(made.task.preprocessing),
        "teachers": dict(_teachers(made)),
        "provenance": dict(stated(made.task.raw)),
        "steps": {name: {"key": done.record.key, "digest": done.artifact.digest} for name, done in made.done.items()},
        "artifacts": dict(_origin(made, row) for row in made.file_rows()),
        "environment": environment(report.toolchain),
    }


def _teachers(made: Made) -> Iterator[tuple[str, str]]:
    """Give the teachers that had a part, each with its artifact's digest."""
    for name in made.task.teachers():
        if f"teach:{name}" in made.done:
            yield name, made.done[f"teach:{name}"].artifact.digest


def _origin(made: Made, row: Row) -> tuple[str, dict[str, Any]]:
    """Return a model file's name, and the artifact that it is a file of: from its digest, which the report names, to the file's own."""
    artifact = made.done[row.model].artifact
    files = [dict(zip(("sha256", "size_bytes", "path"), each, strict=True)) for each in list_files(artifact.path)]
    return f"model.{artifact.kind}", {"row": row.title, "step": row.model, "digest": artifact.digest, "files": files}
