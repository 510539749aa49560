"""What goes where: a document for machines is alone on stdout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.starter import write_starter
from pipeline.verbs.printing import stdout_kept


@pytest.mark.parametrize(("for_json", "out"), [(True, "document\n"), (False, "printed\nby a child\ndocument\n")])
def test_what_a_task_prints_stays_out_of_a_document(
    capfd: pytest.CaptureFixture[str], *, for_json: bool, out: str
) -> None:
    with stdout_kept(for_json=for_json):
        print("printed", flush=True)
        subprocess.run(["echo", "by a child"], check=True)
    os.write(1, b"document\n")

    told = capfd.readouterr()
    assert told.out == out
    assert told.err == ("printed\nby a child\n" if for_json else "")


@pytest.mark.parametrize("verb", ["run", "fit", "teachers"])
def test_a_verb_that_reads_a_task_keeps_stdout_for_its_document(tmp_path: Path, verb: str) -> None:
    task, recipe = write_starter(tmp_path)
    task.write_text("print('I was read')\n", encoding="utf-8")
    command = [str(Path(sys.executable).with_name("edgepress")), verb, str(recipe), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("I was read\nedgepress: ")
