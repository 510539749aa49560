"""Fuzzing that follows coverage: atheris (https://github.com/google/atheris, libFuzzer for Python) on one parser of `parsers.py`.

`python -m tests.evidence.trust.guided PARSER SECONDS`

It starts from the sound inputs and keeps what reaches new lines of ours; the first outcome that isn't allowed ends it with a traceback and the input.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipeline", "devices", "targets"]):
    from pipeline.errors import EdgepressError
    from tests.evidence.trust.parsers import parsers

MOST_BYTES = 20000


def guided(name: str, seconds: int) -> None:
    """Fuzz one parser for so many seconds; never returns."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="edgepress-fuzz-"))
    known = parsers(folder)[name]
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(known.seeds):
        (corpus / str(number)).write_bytes(seed)

    def one(content: bytes) -> None:
        try:
            known.read(content)
        except EdgepressError as error:
            if "\n" in str(error):
                raise AssertionError(f"refused in more than a line: {error}") from error

    limits = [f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}", "-timeout=10", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    guided(sys.argv[1], int(sys.argv[2]))
