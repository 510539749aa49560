"""Judging a file in this process, as the bounded one does it: for tests with many files of our own making."""

import tempfile
from pathlib import Path

from devices.sandbox import Finished
from pipeline.checks import examine, examiner
from pipeline.checks.finding import Finding, Promises
from pipeline.checks.lints import find_all
from pipeline.checks.subject import Subject, subject_of
from targets import Target

PEACEFUL = Finished(code=0, stdout="", stderr="", timed_out=False, seconds=0.0)


def examined_here(path: Path) -> examine.Examined:
    with tempfile.TemporaryDirectory() as folder:
        examiner.main(str(examine.ROOT), str(path), folder)
        return examine.answers(Path(folder), path, PEACEFUL)


def subject_here(path: Path, target: Target | None = None, promises: Promises | None = None) -> Subject:
    return subject_of(examined_here(path), target, promises)


def findings_here(path: Path, target: Target | None = None, promises: Promises | None = None) -> list[Finding]:
    return find_all(subject_here(path, target, promises))
