"""The model card: a README.md as the Hugging Face hub reads it, YAML in front and text behind, from the report and the manifest.

The front matter's keys are those of https://huggingface.co/docs/hub/model-cards ; `model-index` is Papers with Code's, which the hub took over.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.archive.bom import licence_id
from pipeline.archive.manifest import Manifest
from pipeline.archive.reader import Entry
from pipeline.provenance import NOT_STATED
from pipeline.report.model import MeasurementFacts, Report, ReportRow

Edges = Mapping[str, Mapping[str, list[str]]]
"""By model file, "inputs" and "outputs", a line each."""


SHOWN_LABELS = 50


def model_card(manifest: Manifest, report: Report, members: Mapping[str, Entry], edges: Edges) -> str:
    """Return the card."""
    parts = [
        _front_matter(manifest, report),
        f"# {manifest.name} for {manifest.target}",
        _summary(manifest, report, members),
        *_section("Inputs and outputs", _interface(manifest, edges)),
        *_section("Scores", _scores(manifest, report)),
        *_section("Latency", _latency(report)),
        *_section("Limits", _limits(manifest, report)),
        *_section("Data, teachers, licences", _sources(manifest)),
        *_section("How it was made", _made(manifest)),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest, report: Report) -> str:
    """Each value is JSON, which YAML reads; of the hub's own keys only those that are known here."""
    stated = manifest.provenance.get("licence")
    known = licence_id(stated) if stated else None
    licence = {"license": known.lower()} if known else {"license": "other", "license_name": stated}
    content: dict[str, Any] = {
        **(licence if stated else {"license": "unknown"}),
        "tags": ["edgepress", *sorted(name.rpartition(".")[2] for name in manifest.artifacts)],
        "metrics": [_plain(report.metric.name)],
        "model-index": [{"name": manifest.name, "results": [*_results(manifest, report)]}],
    }
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
    return "\n".join(["---", *lines, "---"])


def _results(manifest: Manifest, report: Report) -> Iterator[dict[str, Any]]:
    for row in _files(manifest, report).values():
        metric = {"type": _plain(report.metric.name), "value": row.score.value, "name": row.stage}
        dataset = {"name": f"{manifest.name}, test split", "type": manifest.name, "split": "test"}
        yield {"task": {"type": "other"}, "dataset": dataset, "metrics": [metric]}


def _summary(manifest: Manifest, report: Report, members: Mapping[str, Entry]) -> str:
    files = [
        f"`{name}` ({row.stage}, {members[name].size_bytes / 1024:.1f} KiB)"
        for name, row in _files(manifest, report).items()
    ]
    by = f", taught by {', '.join(sorted(manifest.teachers))}" if manifest.teachers else ""
    return (
        f"A network compressed for {manifest.target} by edgepress {manifest.toolchain.get('edgepress', '')} on {manifest.made_at[:10]}{by}. "
        f"Files: {', '.join(files) or 'none'}. Every figure below comes from `report.json`, where there are more."
    )


def _interface(manifest: Manifest, edges: Edges) -> Iterator[str]:
    rows = [(name, "<br>".join(each["inputs"]), "<br>".join(each["outputs"])) for name, each in sorted(edges.items())]
    yield from _table(("file", "inputs", "outputs"), rows)
    if manifest.preprocessing:
        yield "Preprocessing: " + "; ".join(f"{key}: {value}" for key, value in manifest.preprocessing.items()) + "."
    if manifest.labels:
        shown, more = manifest.labels[:SHOWN_LABELS], len(manifest.labels) - SHOWN_LABELS
        rest = f", and {more} more in `manifest.json`" if more > 0 else ""
        yield f"Classes, in the outputs' order: {_plain(', '.join(shown))}{rest}."


def _scores(manifest: Manifest, report: Report) -> Iterator[str]:
    reference = [row for row in report.rows if row.stage == report.reference]
    told = {row.stage: row for row in [*_files(manifest, report).values(), *reference]}
    rows = [_score(row, report) for row in told.values()]
    rows += [_score(row, report, prefix="control: ") for row in report.controls]
    better = "higher" if report.metric.higher_is_better else "lower"
    yield f"On {report.test_samples:,} test samples that no choice has seen; {better} is better. Intervals are of 95 %."
    yield from _table(
        ("model", report.metric.name, f"lost against {report.reference}", "parameters", "MACs", "size"), rows
    )


def _score(row: ReportRow, report: Report, *, prefix: str = "") -> tuple[str, ...]:
    lost = report.drop.get(row.stage)
    counts = ("" if count is None else f"{count:,}" for count in (row.parameters, row.macs))
    return (
        prefix + row.stage,
        row.score.shown(),
        lost.shown("+") if lost else "",
        *counts,
        f"{row.size_bytes / 1024:.1f} KiB",
    )


def _latency(report: Report) -> Iterator[str]:
    rows = [_timing(each) for each in report.measurements if each.quantity == "latency"]
    yield from _table(("model", "device", "runtime", "threads", "median [95 %]", "how"), rows)
    if not rows:
        yield "Not measured."
    elif report.target not in {each.device for each in report.measurements if each.quantity == "latency"}:
        yield f"None of these devices is {report.target}."


def _timing(each: MeasurementFacts) -> tuple[str, ...]:
    value = f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}] {each.unit}"
    how = each.label if each.valid else f"{each.label}, INVALID: {each.why_invalid}"
    return (each.model, each.device, each.runtime, str(each.threads), value, how)


def _limits(manifest: Manifest, report: Report) -> Iterator[str]:
    gate = report.fidelity
    lines = [
        f"the scores hold for data like the test split's: {manifest.provenance.get('data', 'its origin is not stated')}"
    ]
    if gate is not None:
        found = (
            "answer alike: the fidelity gate passed"
            if gate.passed
            else f"DON'T answer alike: {'; '.join(gate.why_failed)}"
        )
        lines.append(f"the exported files and the trained network {found}")
    lines += [f"budget, {each.budget}: {each.outcome.replace('_', ' ')} ({each.why})" for each in report.verdicts]
    yield _list(lines)


def _sources(manifest: Manifest) -> Iterator[str]:
    told = manifest.provenance
    words = {
        "licence of the model": told.get("licence"),
        "data": told.get("data"),
        "licence of the data": told.get("data_licence"),
        "teachers": told.get("teacher") or ", ".join(sorted(manifest.teachers)) or "none",
        "licence of the teachers": told.get("teacher_licence"),
    }
    yield _list(f"{what}: {word or NOT_STATED}" for what, word in words.items())
    rows = [(split, f"{count:,}", f"`{manifest.task[f'data.{split}']}`") for split, count in manifest.samples.items()]
    yield from _table(("split", "samples", "fingerprint (sha256 of the content)"), rows)


def _made(manifest: Manifest) -> Iterator[str]:
    task = str(manifest.recipe["task"])
    where = {
        True: "comes with edgepress",
        False: f"is its author's: put it beside `recipe.toml`, as `{task.partition(':')[0]}`",
    }[task.startswith("pipeline.")]
    if ":" not in task:
        where = 'was an object in a program, which `recipe.toml` can\'t name: put its own file there as "file.py:task"'
    yield f"Stages: {', '.join(manifest.recipe['stages'])}; seed {manifest.seed}. The task {where}. To make it again:"
    yield (
        f"    pip install -r environment.txt   # Python {manifest.environment.python}, {manifest.environment.platform}; and edgepress\n"
        "    edgepress run recipe.toml"
    )
    yield "`bom.cdx.json` lists everything that had a part in it. `edgepress verify FILE.edgepress` shows whether the archive is whole."


def _files(manifest: Manifest, report: Report) -> dict[str, ReportRow]:
    """Return the model files' rows, by the file's name."""
    rows = {row.stage: row for row in report.rows}
    return {name: rows[origin.row] for name, origin in sorted(manifest.artifacts.items())}


def _section(title: str, parts: Iterable[str]) -> list[str]:
    return [f"## {title}", *parts]


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    found = [_pipes(row) for row in rows]
    if found:
        head = [*columns]
        yield "\n".join([_pipes(head), _pipes("---" for _ in head), *found])


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
