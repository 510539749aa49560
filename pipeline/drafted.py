"""Drafted: files appear where the user asked whole, by rename, or not at all."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StoreError


@contextmanager
def drafted(folder: Path, files: Iterable[str]) -> Iterator[Path]:
    """Give an empty folder to write into; at the end those of `files` that are there go into `folder`, in this order, each by rename."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as name:
            draft = Path(name)
            yield draft
            for file in files:
                if (draft / file).exists():
                    (draft / file).replace(folder / file)
    except OSError as error:
        raise StoreError(
            f"{folder} can't be written ({error.strerror}); make room there, or name another folder with --out"
        ) from error
