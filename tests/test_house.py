"""Rules of the house that no linter knows: nothing pickled, no registry or machine named, light commands without torch."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.small_files import write_onnx

ROOT = Path(__file__).parent.parent
LIGHT_COMMANDS = (
    *(["--help"], ["targets"], ["targets", "pixel-8"], ["run", "--help"], ["bench", "--help"]),
    *(["report", "--help"], ["check", "--help"], ["check", "--explain", "float-op"], ["doctor"]),
)


def project_files() -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    yield from (ROOT / name for name in listed.splitlines() if (ROOT / name).is_file())


def lines_with(pattern: str, suffixes: tuple[str, ...]) -> list[str]:
    wanted = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in project_files()
        if path.suffix in suffixes and path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if wanted.search(line)
    ]


def test_the_product_pickles_nothing() -> None:
    pickles = r"^\s*(import|from) (pickle|cloudpickle|dill|joblib)\b(?! import UnpicklingError$)"

    found = lines_with(pickles, (".py",))
    assert [where for where in found if not where.startswith("tests/")] == []


def test_torch_load_always_loads_weights_only() -> None:
    assert lines_with(r"torch\.load\((?!.*weights_only=True)", (".py",)) == []


def test_no_shell_is_started() -> None:
    assert lines_with(r"shell=True|os\.system\(", (".py",)) == []


def test_a_suppressed_security_rule_says_why() -> None:
    rule = r"# (noqa: (S\d+|\w+\d+, ?S\d+)[\w, ]*|nosec[ \w]*)"
    suppressed, explained = (
        lines_with(rule, (".py",)),
        lines_with(rf"{rule}(  #| -) *\S+ \S+", (".py",)),
    )

    assert len(suppressed) > 20
    assert [where for where in suppressed if where not in explained] == []


def test_no_package_registry_is_named() -> None:
    assert (
        lines_with(r"pypi\.org|pythonhosted|registry\.npmjs|deb\.debian\.org", (".py", ".toml", ".md", ".txt", ""))
        == []
    )


def test_no_path_of_a_machine_is_named() -> None:
    assert lines_with(r"(?<![\w.])/(work|root|home/\w+)/", (".py", ".toml", ".md", ".json", "")) == []


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_a_light_command_imports_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from pipeline.cli import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'ai_edge_litert', 'onnx', 'lightning_fabric'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )

    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")


def test_a_verb_that_trains_says_what_a_light_install_lacks() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['edgepress', 'run', 'digits']\n"
        "from pipeline.cli import main; main()"
    )

    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)

    assert result.returncode == 2
    assert result.stderr == (
        "edgepress: this verb needs torch, which the light install leaves out; pip install 'edgepress[compress]'\n"
    )


def test_onnxruntime_tells_its_maker_nothing(tmp_path: Path) -> None:
    home, model = tmp_path / "home", write_onnx(tmp_path / "m.onnx")
    home.mkdir()
    code = f"import pipeline, onnxruntime; onnxruntime.InferenceSession({str(model)!r})"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}

    subprocess.run([sys.executable, "-P", "-c", code], check=True, env={**environment, "HOME": str(home)})

    assert list(home.iterdir()) == []
