"""What the world does to the product, in small slices; the whole studies are `tests/evidence/trust`."""

import sys

import pytest

from pipeline.cli import main
from pipeline.errors import EdgepressError
from tests.evidence.trust.fuzz import HANG_SECONDS, throw
from tests.evidence.trust.parsers import Parser, parsers
from tests.study import study

NAMES = (
    *("recipe", "target", "settings", "waivers", "baseline", "budget", "places", "spec"),
    *("turn", "adb devices", "benchmark_model", "arena", "vela", "state of a board", "counts of qemu"),
    *("profile of layers", "onnx", "tflite", "samples", "artifact", "architecture", "weights", "table of costs"),
    *("report of a run", "search of a run"),
    *("archive", "manifest.json of an archive", "report.json of an archive", "bom.cdx.json of an archive"),
)
CASES = 300
LENIENT = ("adb devices", "state of a board", "places")
"""Readers that take any text: what makes no sense in it counts as not said."""

FOUND = {
    "turn": [b"[" * 20000, b'{"samples_us": [1' + b"0" * 400 + b"]}", b'{"samples_us": [1.0], "load_us": {}}'],
    "vela": [b"experiment,core_clock,sram_memory_used,cycles_total\ndefault,1.0\n\0x"],
    "profile of layers": [
        b'[{"cat": "Node", "name": "a_kernel_time", "dur": 1' + b"0" * 400 + b', "args": {"op_name": "b"}}]'
    ],
    "spec": [b"ssh://pi@\r\nboard?cores=2,x"],
    "settings": [
        *(
            b'schema = 1\nmodels = ["a"]\n[[check]]\nmodels = ["%s"]\n' % name
            for name in (b"./", b"\\u0000", b"a" * 300)
        ),
    ],
    "weights": [b'=\0\0\0\0\0\0\0{"w": {"dtype": [], "shape": [true], "data_offsets": [0, 8]}}' + bytes(8)],
}
"""What broke a parser once."""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    return parsers(tmp_path_factory.mktemp("parsers"))


def test_every_parser_reads_what_its_mutations_start_from(known: dict[str, Parser]) -> None:
    for parser in known.values():
        for seed in parser.seeds:
            parser.read(seed)

    assert tuple(known) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_mutated_inputs_are_read_or_refused_in_one_line(known: dict[str, Parser], name: str) -> None:
    found = throw(known[name], seed=1, first=0, count=CASES, limit_s=HANG_SECONDS)

    assert found.wrong == []
    assert sum(found.outcomes.values()) == CASES
    assert found.outcomes["read"] < CASES or name in LENIENT or "archive" in name


@pytest.mark.parametrize(("name", "content"), [(name, content) for name, all_ in FOUND.items() for content in all_])
def test_what_broke_a_parser_once_is_refused_in_one_line(known: dict[str, Parser], name: str, content: bytes) -> None:
    with pytest.raises(EdgepressError) as caught:
        known[name].read(content)

    assert "\n" not in str(caught.value)


def test_an_error_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["edgepress", "targets", "a\x1b]0;owned\x07\u202eb"])
    with pytest.raises(SystemExit):
        main()

    told = capsys.readouterr().err
    assert told.startswith("edgepress: no target")
    assert all(letter.isprintable() for letter in told.removesuffix("\n"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_disk_that_fills_up_loses_nothing() -> None:
    found = study("trust.full_disk", "--moments", "4", "--seed", "7")

    assert (found["lost"], found["different"], found["half_written"], found["unclear"]) == (0, 0, 0, 0)
    assert found["ended_with_2"] >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_runs_end_as_those_in_peace() -> None:
    found = study("trust.kills", "--runs", "5", "--kills", "3", "--seed", "7")

    assert found["kills"] == 15
    assert (found["corrupt"], found["different"], found["left"], found["tracebacks"]) == (0, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mutated_models_go_through_the_bounded_process() -> None:
    found = study("trust.fuzz", "--sandboxed", "200", "--workers", "2", "--seed", "7")

    assert (found["cases"], found["wrong"]) == (200, [])
