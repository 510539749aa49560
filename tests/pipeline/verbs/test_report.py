"""`edgepress report` as its user meets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import app
from pipeline.errors import EdgepressError, ReportError
from pipeline.verbs.report import write_at_end
from tests.small_report import SEARCH, report, reproduction, row, write_run

PNG = b"\x89PNG\r\n\x1a\n"


def run_report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)


def test_a_run_gets_its_page_beside_it_and_its_picture_where_one_asks(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", report())

    result = run_report(folder, "--png", tmp_path / "main.png")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"wrote {folder / 'report.html'}", f"wrote {tmp_path / 'main.png'}"]
    assert "<!doctype html>" in (folder / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "main.png").read_bytes().startswith(PNG)
    assert (tmp_path / "main.png").stat().st_size < 150_000


def test_two_runs_are_compared_in_the_terminal_and_on_a_page(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", report())
    second = write_run(tmp_path / "b", report(reproduction=reproduction(temperature=2.0)))

    result = run_report(first, second, "--out", tmp_path / "both.html")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[3:5] == ["what changed", "  distill.temperature: 4.0 -> 2.0"]
    assert "distill.temperature" in (tmp_path / "both.html").read_text(encoding="utf-8")


def test_what_a_report_says_can_not_steer_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    first = write_run(tmp_path / "a", report())
    second = write_run(
        tmp_path / "b", report(reproduction=reproduction(temperature=evil), rows=(row(evil, 0.9, 1, 1),))
    )

    told = run_report(first, second, "--out", tmp_path / "both.html").stdout

    assert "owned" in told
    assert not {"\x1b", "\x07", "\u202e"} & set(told)


def test_what_can_t_be_done_is_one_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", report())

    with pytest.raises(ReportError, match="4 runs were given; a comparison takes 3 at most"):
        run_report(folder, folder, folder, folder)
    with pytest.raises(ReportError, match=r"--png p\.png draws one run; 2 were given"):
        run_report(folder, folder, "--png", "p.png")
    with pytest.raises(ReportError, match=r"no report\.json in"):
        run_report(tmp_path / "nothing")
    with pytest.raises(EdgepressError, match="can't be written"):
        run_report(folder, "--out", folder / "raspberry-pi-4" / "report.json" / "page.html")


def test_without_the_extra_the_verb_and_the_end_of_a_run_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run", report())
    code = (
        "import sys; sys.modules['altair'] = None; sys.argv = ['edgepress', 'report', sys.argv[1]]\n"
        "from pipeline.cli import main; main()"
    )
    told = "report.html needs altair, which isn't installed; pip install 'edgepress[report]'\n"

    result = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "altair", None)
        write_at_end([report()], folder)

    assert (result.returncode, result.stderr) == (2, f"edgepress: {told}")
    assert capsys.readouterr().err == f"no report.html was written: {told}"
    assert not (folder / "report.html").exists()


def test_a_search_s_file_that_can_t_be_read_costs_a_run_its_page_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fit.json").write_text("{}")

    write_at_end([report()], tmp_path)

    assert capsys.readouterr().err.startswith(
        f"no report.html was written: {tmp_path / 'fit.json'}: key 'recipe' is missing"
    )


def test_a_search_beside_a_run_is_drawn_where_it_is_that_recipe_s(tmp_path: Path) -> None:
    folder = write_run(tmp_path, report(target="pixel-8"))
    for recipe, count in (("bars", 1), ("another", 0)):
        (folder / "fit.json").write_text(SEARCH.replace('"recipe": "bars"', f'"recipe": "{recipe}"'))
        run_report(folder)

        assert (folder / "report.html").read_text(encoding="utf-8").count(
            "The search: what each trial lost and cost</h4>"
        ) == count


def test_it_imports_no_torch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", report())
    code = (
        "import sys; from pipeline.cli import app\n"
        f"try: app(['report', {os.fspath(folder)!r}])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'ai_edge_litert', 'onnx'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")
