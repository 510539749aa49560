"""Code stays small enough to be read: files under 400 lines, functions under 40. Raise it in its own commit, with a reason."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE_LINES = 400
FUNCTION_LINES = 40
LONGER = {"runner.py": 500}
"""The one file that goes onto a board can't be split: it measures, answers, counts and says what disturbed it."""


def sources() -> Iterator[Path]:
    for folder in ("pipeline", "targets", "devices", "tests"):
        yield from (ROOT / folder).rglob("*.py")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_longer_than_400_lines() -> None:
    long = [path.name for path in sources() if _lines(path) > LONGER.get(path.name, FILE_LINES)]

    assert long == []


def test_no_function_is_longer_than_40_lines() -> None:
    long = [
        f"{path.name}:{node.lineno} {node.name}"
        for path in sources()
        for node in functions(path)
        if (node.end_lineno or node.lineno) - node.lineno >= FUNCTION_LINES
    ]

    assert long == []


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_every_module_says_what_it_holds() -> None:
    silent = [
        path.name
        for path in sources()
        if "tests" not in path.relative_to(ROOT).parts[:1]
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert silent == []
