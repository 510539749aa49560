"""The page that goes into an archive: the target's own, else the run's, if it tells of this report and of nothing else.

A run writes one page for all its targets, beside their folders. One of several isn't taken: who gets the archive of one target hasn't asked for the
others' figures. Nor is a page that an earlier run left, or any other file of that name.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from pipeline.archive.form import MAX_ARCHIVE_BYTES
from pipeline.report.model import Report

PAGE = "report.html"
CHAPTER = '<section class="target" id="target-'
"""How a target's part of a page begins; text out of a report has no `<` there."""


def page_of(report: Report, places: Iterable[Path]) -> bytes | None:
    """Return the first of these pages that is there and tells of this report alone."""
    for place in places:
        try:
            with place.open("rb") as file:
                content = file.read(MAX_ARCHIVE_BYTES)
        except OSError:
            continue
        if _tells_of(content.decode("utf-8", errors="replace"), report):
            return content
    return None


def places_of(folder: Path) -> tuple[Path, Path]:
    """Return where a target's own page lies, and where its run's does."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return folder / PAGE, named.parent / PAGE


def _tells_of(page: str, report: Report) -> bool:
    if report.reproduction is None or page.count(CHAPTER) != 1:
        return False
    told = [f"<h2>{escape(report.target)}</h2>", f"<dt>made</dt><dd>{escape(report.made_at)}</dd>"]
    return all(each in page for each in (*told, *report.reproduction.files.values()))
