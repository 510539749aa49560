"""Paste what the demo printed into the README: `make demo`, then `.venv/bin/python tests/paste_readme.py`."""

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


if __name__ == "__main__":
    README.write_text(pasted(README.read_text(encoding="utf-8"), REPORT.read_text(encoding="utf-8")), encoding="utf-8")
