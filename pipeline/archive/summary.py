"""What is in an archive, as JSON values: for `edgepress inspect`. It refuses what isn't whole, and opens no model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.archive.consistency import report_from
from pipeline.archive.manifest import Manifest, manifest_from
from pipeline.archive.reader import Archive, read_archive
from pipeline.archive.signature import fingerprint
from pipeline.archive.verify import signer
from pipeline.errors import ArchiveError
from pipeline.provenance import KEYS, NOT_STATED
from pipeline.report.model import Report


def describe_archive(path: Path) -> dict[str, Any]:
    """Return facts of an archive; ArchiveError where its form is wrong or a member was altered."""
    archive = read_archive(path)
    if altered := archive.altered():
        raise ArchiveError(f"{path}: {altered[0]}")
    if missing := {"manifest.json", "report.json"} - archive.members.keys():
        raise ArchiveError(f"{path}: {min(missing)} is missing; `edgepress pack` puts it there")
    manifest, report = manifest_from(archive.content("manifest.json")), report_from(archive.content("report.json"))
    return {
        "kind": "archive",
        "recipe": manifest.name,
        "target": manifest.target,
        "made at": manifest.made_at,
        "digests verified": "yes",
        "signed by": _signer(archive),
        "files": {
            name: f"{entry.size_bytes} bytes, sha256 {entry.sha256}" for name, entry in archive.index.members.items()
        },
        f"{report.metric.name} [95 %]": dict(_scores(manifest, report)),
        "budget": {each.budget: f"{each.outcome.replace('_', ' ')}: {each.why}" for each in report.verdicts},
        "provenance": {key: manifest.provenance.get(key, NOT_STATED) for key in KEYS},
        "data, sha256": {split: manifest.task.get(f"data.{split}", NOT_STATED) for split in manifest.samples},
        "made by": dict(manifest.toolchain),
    }


def _scores(manifest: Manifest, report: Report) -> Iterator[tuple[str, str]]:
    """Give the scores of the files and of what they are judged against."""
    titles = {origin.row for origin in manifest.artifacts.values()} | {report.reference}
    for row in report.rows:
        if row.stage in titles:
            yield row.stage, row.score.shown()


def _signer(archive: Archive) -> str:
    public = signer(archive)
    if public is None:
        return "nobody"
    return f"{fingerprint(public)}, not checked here; `edgepress verify FILE --key PUBLIC.pem` does"
