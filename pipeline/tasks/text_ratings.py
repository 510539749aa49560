"""Ratings: texts that people rated, from the archive that a package brings, or from a user's own tables.

The archive is vaderSentiment 3.3.2's source package (MIT). In it lie 4,200 short texts in the manner of tweets, each with the mean
of at least 20 people's ratings, -4 to 4 (Hutto and Gilbert 2014, "VADER: A Parsimonious Rule-based Model for Sentiment
Analysis of Social Media Text", https://ojs.aaai.org/index.php/ICWSM/article/view/14550). A wheel leaves them out, so the archive
is fetched as it is, once, into the user's cache.

A table of one's own has a text in the last column and a number before it: .tsv or .txt with tabs, .csv with commas.
"""

import csv
import html
import math
import os
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import platformdirs

from pipeline.artifact import file_digest
from pipeline.errors import MissingExtraError, TaskError

ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
PROVENANCE = {
    "data": "4,200 short texts in the manner of tweets (Hutto and Gilbert 2014), from the sources of vaderSentiment 3.3.2",
    "data_licence": "MIT",
}
DIGEST = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
"""Of the archive as its author released it: no other content is ever opened."""
INNER, TABLE = (
    "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
    "hutto_ICWSM_2014/tweets_GroundTruth.txt",
)
DELIMITERS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
MAX_BYTES, MAX_TEXTS = 2**26, 200_000
"""Of one table, and of all: what the tasks hold in memory at once."""


@dataclass(frozen=True)
class Rated:
    """A text and how it was rated: below 0 for bad, above for good."""

    text: str
    rating: float


def rated_tweets() -> list[Rated]:
    """Return the archive's 4,200 texts, in its order."""
    path = archive_path()
    if not path.is_file():
        fetch = f"{Path(sys.executable).name} -m pip download --no-binary :all: --no-deps --dest {str(path.parent)!r}"
        raise MissingExtraError(
            f"no {path}, whose rated tweets this task learns from; fetch it once (2.4 MB): {fetch} vaderSentiment==3.3.2"
        )
    if file_digest(path) != DIGEST:
        raise TaskError(f"{path} isn't the archive that its author released; delete it and fetch it again")
    with tarfile.open(path) as outer, tarfile.open(fileobj=BytesIO(_member(outer, INNER))) as inner:
        return list(_rows(_member(inner, TABLE), "\t", TABLE))


def archive_path() -> Path:
    """Return where the archive lies: EDGEPRESS_CACHE, or the user's cache."""
    cache = os.environ.get("EDGEPRESS_CACHE") or platformdirs.user_cache_dir("edgepress")
    return Path(cache).absolute() / "data" / ARCHIVE


def read_ratings(source: Path) -> list[Rated]:
    """Return the texts of a table, or of all tables in a folder in the order of their names."""
    tables = sorted(path for path in source.iterdir() if path.suffix in DELIMITERS) if source.is_dir() else [source]
    rated: list[Rated] = []
    for path in tables:
        if path.suffix not in DELIMITERS or not path.is_file():
            raise TaskError(f"no table {path}; give a file, or a folder of files, that end in {', '.join(DELIMITERS)}")
        if path.stat().st_size > MAX_BYTES:
            raise TaskError(f"{path} is larger than {MAX_BYTES >> 20} MiB; give a part of it")
        rated += _rows(path.read_bytes(), DELIMITERS[path.suffix], str(path))
    if not 0 < len(rated) <= MAX_TEXTS:
        raise TaskError(f"{source} holds {len(rated)} rated texts; give 1 to {MAX_TEXTS}")
    return rated


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Return a file's content; nothing is ever unpacked to disk."""
    file = archive.extractfile(name)
    if file is None or archive.getmember(name).size > MAX_BYTES:
        raise TaskError(f"{name} in the archive is no file of at most {MAX_BYTES >> 20} MiB")
    return file.read()


def _rows(content: bytes, delimiter: str, where: str) -> Iterator[Rated]:
    """Read a table's lines; the first may be a header, empty ones don't count."""
    quoting: Any = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    try:
        lines = csv.reader(StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter, quoting=quoting)
        for row in lines:
            rating = _rating(row)
            if rating is None and lines.line_num > 1 and row:
                raise TaskError(
                    f"{where}, line {lines.line_num}: {delimiter.join(row)!r:.60} is no row of a number and a text; "
                    "the text stands in the last column, its rating in the one before"
                )
            if rating is not None:
                yield Rated(" ".join(html.unescape(row[-1]).split()), rating)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"{where}: {error}; give a table in UTF-8, a text a line") from error


def _rating(row: list[str]) -> float | None:
    try:
        rating = float(row[-2])
    except (IndexError, ValueError):
        return None
    return rating if math.isfinite(rating) and row[-1].strip() else None
