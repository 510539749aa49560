"""Do the parts of an archive tell of the same things? Asked once every content is known to be the one that was packed.

From a figure to the file: the report's row names an artifact's digest, the manifest lists that artifact's files, and the model is one of them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.archive.bom import hashes_in
from pipeline.archive.manifest import Manifest, Origin, manifest_from, parsed
from pipeline.archive.reader import OUTSIDE, Entry, entry_of
from pipeline.archive.words import recipe_toml, requirements
from pipeline.artifact import digest_of_list
from pipeline.errors import ModelError
from pipeline.report.model import Report

ADDED = ("manifest.json", "report.html", "README.md", "recipe.toml", "environment.txt", "bom.cdx.json")
"""Members that the manifest doesn't name: itself, and what `pack` adds."""

NEEDED = ("report.json", *(name for name in ADDED if name != "report.html"))
MAX_JSON_BYTES = 64 * 2**20


def inconsistent(members: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return a sentence for each contradiction between the members of an archive."""
    if missing := [name for name in NEEDED if name not in members]:
        return tuple(f"{name}: an archive has this member, and here it is missing" for name in missing)
    try:
        manifest, report = manifest_from(members["manifest.json"]), report_from(members["report.json"])
        hashes = hashes_in(_json(members["bom.cdx.json"], "bom.cdx.json"))
    except ModelError as error:
        return (str(error),)
    except (KeyError, TypeError, IndexError) as error:
        return (
            f"bom.cdx.json: it isn't built as `edgepress pack` builds one ({type(error).__name__}: {str(error)[:80]})",
        )
    return (*contradictions(manifest, report, members), *_bom(hashes, _entries(members)))


def contradictions(manifest: Manifest, report: Report, members: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return a sentence for each contradiction between a manifest, a report and the members that they tell of."""
    entries = _entries(members)
    return (
        *_files(manifest, entries),
        *_origins(manifest, report, entries),
        *_report(manifest, report),
        *_words(manifest, members),
    )


def report_from(content: bytes) -> Report:
    """Return the report in a report.json; ModelError where it is none."""
    return parsed(content, Report, name="report.json", most_bytes=MAX_JSON_BYTES)


def _entries(members: Mapping[str, bytes]) -> dict[str, Entry]:
    return {name: entry_of(content) for name, content in members.items() if name not in OUTSIDE}


def _json(content: bytes, name: str) -> Any:
    if len(content) > MAX_JSON_BYTES:
        raise ModelError(f"{name} is larger than {MAX_JSON_BYTES} bytes")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name} is no JSON ({str(error)[:120]})") from error


def _files(manifest: Manifest, entries: Mapping[str, Entry]) -> Iterator[str]:
    for name, sha256 in manifest.files.items():
        if name not in entries:
            yield f"{name}: the manifest names this file, and it is missing"
        elif entries[name].sha256 != sha256:
            yield f"{name}: the manifest says sha256 {sha256:.64}; it is {entries[name].sha256}"
    for name in sorted(entries.keys() - manifest.files.keys() - set(ADDED)):
        yield f"{name}: the manifest doesn't name this file"


def _origins(manifest: Manifest, report: Report, entries: Mapping[str, Entry]) -> Iterator[str]:
    rows = {row.stage: row for row in report.rows}
    models = {name for name in entries if name.startswith("model.")}
    for name in sorted(models ^ manifest.artifacts.keys()):
        yield f"{name}: the manifest doesn't say which step made it, or names one that isn't there"
    for name in sorted(models & manifest.artifacts.keys()):
        origin, row = manifest.artifacts[name], rows.get(manifest.artifacts[name].row)
        if digest_of_list((file.sha256, file.size_bytes, file.path) for file in origin.files) != origin.digest:
            yield f"{name}: the manifest's list of its artifact's files doesn't have the digest {origin.digest}"
        if not _is_listed(name, origin, entries[name]):
            yield f"{name}: it isn't the file of the artifact {origin.digest} that the manifest lists"
        if origin.step not in manifest.steps or manifest.steps[origin.step].digest != origin.digest:
            yield f"{name}: the manifest's step {origin.step!r:.60} made another artifact than {origin.digest}"
        if row is None or (row.digest, row.size_bytes) != (origin.digest, entries[name].size_bytes):
            yield f"{name}: the report's figures of {origin.row!r:.60} are those of another file"


def _is_listed(name: str, origin: Origin, entry: Entry) -> bool:
    return any(
        (file.path, file.sha256, file.size_bytes) == (name, entry.sha256, entry.size_bytes) for file in origin.files
    )


def _report(manifest: Manifest, report: Report) -> Iterator[str]:
    theirs = (report.recipe, report.target, report.made_at, report.toolchain)
    if theirs != (manifest.name, manifest.target, manifest.made_at, manifest.toolchain):
        yield "report.json: it tells of another run than manifest.json: recipe, target, time or toolchain differ"
    if report.test_samples != manifest.samples.get("test"):
        yield f"report.json: it tells of {report.test_samples} test samples, manifest.json of {manifest.samples.get('test')}"
    known = {row.stage for row in (*report.rows, *report.controls)}
    made = {step.digest for step in manifest.steps.values()}
    for row in (*report.rows, *report.controls):
        if row.digest not in made:
            yield f"report.json: no step of manifest.json made {row.stage!r:.60}, {row.digest:.64}"
    for title in sorted({each.model for each in report.measurements} - known):
        yield f"report.json: it measures {title!r:.60}, of which it has no row"


def _words(manifest: Manifest, members: Mapping[str, bytes]) -> Iterator[str]:
    if members["recipe.toml"] != recipe_toml(manifest.recipe).encode():
        yield "recipe.toml: it isn't the recipe of manifest.json"
    if members["environment.txt"] != requirements(manifest.environment).encode():
        yield "environment.txt: it isn't the environment of manifest.json"


def _bom(hashes: Mapping[str, str], entries: Mapping[str, Entry]) -> Iterator[str]:
    expected = {name: entry.sha256 for name, entry in entries.items() if name != "bom.cdx.json"}
    for name in sorted(hashes.keys() | expected.keys()):
        if hashes.get(name) != expected.get(name):
            yield f"bom.cdx.json: of {name!r:.100} it says sha256 {hashes.get(name, 'nothing'):.64}; it is {expected.get(name, 'not there')}"
