"""Paste what was printed into the README: `make demo`, then `.venv/bin/python tests/paste_readme.py`.

`.venv/bin/python tests/paste_readme.py paths` runs a newcomer's two paths and pastes what they print.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
REPORT = ROOT / "build" / "digits" / "raspberry-pi-4" / "report.md"
BEGIN = "<!-- demo: pasted by tests/paste_readme.py, never by hand -->"
END = "<!-- /demo -->"


def pasted(readme: str, report: str) -> str:
    """Return the README with the report, its headings two levels deeper, between the two marks."""
    before, _, rest = readme.partition(BEGIN)
    after = rest.partition(END)[2]
    deeper = "\n".join(f"##{line}" if line.startswith("#") else line for line in report.splitlines())
    return f"{before}{BEGIN}\n\n{deeper}\n\n{END}{after}"


def block(readme: str) -> str:
    """Return what stands between the two marks."""
    return readme.partition(BEGIN)[2].partition(END)[0]


def with_paths(readme: str) -> str:
    """Run a newcomer's paths, and return the README with what they printed."""
    sys.path.insert(0, str(ROOT))
    from tests import readme_paths as paths

    with tempfile.TemporaryDirectory() as folder, paths.board_in_the_house(Path(folder)) as home:
        (place := Path(folder) / "work").mkdir()
        for name in paths.PATHS:
            told = {command: paths.run(command, place, home) for command in paths.commands(readme, name)}
            failed = [f"{command}\n{done.stdout}" for command, done in told.items() if done.returncode]
            if failed:
                sys.exit("\n".join(failed))
            readme = paths.pasted(readme, name, {command: done.stdout for command, done in told.items()})
    return readme


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    new = with_paths(text) if sys.argv[1:] == ["paths"] else pasted(text, REPORT.read_text(encoding="utf-8"))
    README.write_text(new, encoding="utf-8")
