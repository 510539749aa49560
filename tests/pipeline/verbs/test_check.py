"""The verb as a shell sees it: arguments in, exit codes and streams out."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline import cli
from pipeline.checks.codes import CODES
from pipeline.gate.codes import GATE_CODES, known_codes
from tests.small_files import write_onnx, write_tflite

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
MOST_CPU_SECONDS = 2.0


class Shell:
    """Runs the command line in this process, in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        monkeypatch.chdir(folder)

    def check(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        self.monkeypatch.setattr(sys, "argv", ["edgepress", "check", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return (code or 0, *self.capsys.readouterr())


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    write_tflite(tmp_path / "model.tflite")
    return Shell(tmp_path, monkeypatch, capsys)


def test_a_pass_is_0_and_a_miss_is_1(shell: Shell) -> None:
    passed, out, err = shell.check("model.tflite", "--budget", "size_kib=2")
    failed, _, _ = shell.check("model.tflite", "--budget", "size_kib=1")

    assert (passed, failed, err) == (0, 1, "")
    assert out.splitlines()[-1].startswith("passed: 1 check, 0 errors")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no model named"),
        (("none.onnx",), "can't read model none.onnx"),
        (("edgepress.npz",), "can't read model edgepress.npz"),
        (("model.tflite", "--budget", "size"), "is no key=value"),
        (("model.tflite", "--target", "toaster"), "no target 'toaster'"),
        (("model.tflite", "--format", "yaml"), "no format 'yaml'"),
        (("model.tflite", "--waivers", "none.toml"), "can't read waivers 'none.toml'"),
        (("model.tflite", "--baseline", "none.json"), "no baseline none.json"),
        (("model.tflite", "--update-baseline"), "name it with --baseline"),
        (("model.tflite", "--config", "none.toml"), "can't read settings 'none.toml'"),
        (("model.tflite", "--reference", "model.tflite"), "belong together"),
        (("model.tflite", "--device", "toaster"), "no device 'toaster'"),
        (("--explain", "float-opp"), "did you mean 'float-op'?"),
    ],
)
def test_wrong_input_is_2_and_one_line(shell: Shell, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = shell.check(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith("edgepress: ")
    assert err.count("\n") == 1
    assert told in err


def test_what_is_no_model_is_2_and_one_line(shell: Shell) -> None:
    (shell.folder / "noise.onnx").write_bytes(os.urandom(4096))
    code, out, err = shell.check("noise.onnx")

    assert (code, out, err.count("\n")) == (2, "", 1)


def test_files_are_written_by_their_suffix_and_the_log_stays_readable(shell: Shell) -> None:
    outs = [f"reports/report.{suffix}" for suffix in ("json", "xml", "sarif", "md", "txt")]
    code, out, _ = shell.check("model.tflite", "--format", "github", *(f"--out={path}" for path in outs))
    folder = shell.folder / "reports"

    assert code == 0
    assert out.splitlines()[-1].startswith("edgepress check passed")
    assert json.loads((folder / "report.json").read_text())["verdict"] == "pass"
    assert json.loads((folder / "report.sarif").read_text())["version"] == "2.1.0"
    assert ET.parse(folder / "report.xml").getroot().tag == "testsuites"  # noqa: S314 - our own output
    assert (folder / "report.md").read_text().startswith("<!-- edgepress check -->")
    assert (folder / "report.txt").read_text().startswith("model.tflite: passed")
    assert len(list(folder.iterdir())) == 5


def test_text_is_printed_where_a_file_has_the_form_that_was_asked_for(shell: Shell) -> None:
    _, out, _ = shell.check("model.tflite", "--format", "sarif", "--out", "report.log")

    assert out.startswith("model.tflite: passed")
    assert json.loads((shell.folder / "report.log").read_text())["version"] == "2.1.0"


def test_settings_make_the_line_short(shell: Shell) -> None:
    write_onnx(shell.folder / "model.onnx")
    settings = 'schema = 1\nmodels = ["model.*"]\nbaseline = "base.json"\n[budget]\nsize_kib = 2\n'
    (shell.folder / "edgepress.toml").write_text(settings)
    made = shell.check("--update-baseline")
    code, out, _ = shell.check("--format", "json")
    document = json.loads(out)

    assert made[0] == code == 0
    assert [each["model"] for each in document["checks"]] == ["model.onnx", "model.tflite"]
    assert [each["changes"] for each in document["checks"]] == [[], []]
    assert sorted(json.loads((shell.folder / "base.json").read_text())["models"]) == ["model.onnx", "model.tflite"]


def test_every_code_is_explained(shell: Shell) -> None:
    _, out, _ = shell.check("--explain", "all")
    listed = [line.split()[0] for line in out.splitlines()]

    assert listed == sorted({*CODES, *GATE_CODES})
    assert len(CODES) + len(GATE_CODES) == len(known_codes())
    assert shell.check("--explain", "budget-missed")[1].splitlines()[1].startswith("why: ")


def test_every_code_can_be_a_rule_s_name() -> None:
    assert [code for code in known_codes() if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code)] == []
    assert all(code.meaning and code.why and code.fix for code in known_codes().values())


def test_a_check_writes_nothing_but_what_it_is_asked_for(shell: Shell) -> None:
    shell.check("model.tflite", "--target", "pixel-8")

    assert [path.name for path in shell.folder.iterdir()] == ["model.tflite"]


def test_a_terminal_without_unicode_gets_escapes(shell: Shell) -> None:
    (shell.folder / "modèle.tflite").write_bytes((shell.folder / "model.tflite").read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([EDGEPRESS, "check", "modèle.tflite"], env=environment, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"mod\\xe8le.tflite: passed")


def large_onnx(path: Path) -> Path:
    """A file of 5 MB: a matrix between two tensors."""
    weight = np.random.default_rng(0).standard_normal((1250, 1000)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", 1250), ("y", 1000))
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_file_of_5_mb_takes_less_than_2_seconds_of_processor_and_no_torch(tmp_path: Path) -> None:
    model = large_onnx(tmp_path / "large.onnx")
    code = (
        "import sys; from pipeline.cli import app\n"
        f"try: app(['check', {str(model)!r}, '--target', 'pixel-8'])\n"
        "except SystemExit: pass\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert (done.returncode, done.stderr) == (0, "")
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < MOST_CPU_SECONDS
