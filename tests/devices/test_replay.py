"""Recorded measurements: they come back as recorded, say that they are recordings, and a wrong file is one line."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from devices import QUICK, Measurement, open_device, tells_latency
from pipeline.errors import DeviceError, RefusedError
from tests.small_files import write_onnx, write_tflite

RECORDED = Measurement(
    model="m.tflite",
    model_sha256="0" * 64,
    quantity="latency",
    unit="us",
    label="measured",
    device="ssh://pi@board",
    machine="Raspberry Pi 4, 4 cores",
    runtime="litert",
    runtime_version="2.3.0",
    threads=1,
    value=100.0,
    low=99.0,
    high=102.0,
    samples=500,
    processes=2,
    process_medians=(99.0, 102.0),
    valid=True,
    why_invalid="",
    together=("0" * 64,),
    p90=110.0,
    how="on core 3",
    made_at="2026-01-02T03:04:05+00:00",
)


def of(model: Path, **changes: Any) -> Measurement:
    digest = sha256(model.read_bytes()).hexdigest()
    given = {"model": model.name, "model_sha256": digest, "together": (digest,), **changes}
    return replace(RECORDED, **given)


def recording(path: Path, *measured: Measurement) -> str:
    path.write_text("\n".join(json.dumps(each.to_json()) for each in measured), encoding="utf-8")
    return f"replay:{path}"


def test_what_was_recorded_comes_back_and_says_that_it_is_a_recording(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    emulated = of(model, quantity="instructions", unit="instructions per inference", label="emulated", how="")
    device = open_device(recording(tmp_path / "r.jsonl", of(model), emulated))

    [(latency, instructions)] = device.measure([model], QUICK)

    assert (latency.value, latency.low, latency.high, latency.p90) == (100.0, 99.0, 102.0, 110.0)
    assert (latency.label, instructions.label) == ("measured", "emulated")
    assert latency.device == device.name == "replay of ssh://pi@board"
    assert device.machine.startswith("Raspberry Pi 4, 4 cores, recording ")
    assert latency.how == "on core 3; recorded 2026-01-02T03:04:05+00:00"
    assert latency.made_at == ""


def test_a_document_of_the_bench_command_is_read(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    document = {"schema": 1, "measurements": [of(model).to_json()], "comparison": None}
    (tmp_path / "bench.json").write_text(json.dumps(document, indent=1), encoding="utf-8")

    assert open_device(f"replay:{tmp_path}/bench.json").measure([model], QUICK)[0][0].value == 100.0


def test_the_last_recording_of_a_quantity_with_the_last_runtime_counts(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    old = of(model, runtime_version="1.0", quantity="load", value=99.5)
    spec = recording(tmp_path / "r.jsonl", old, of(model), of(model, value=101.0))

    [measured] = open_device(spec).measure([model], QUICK)

    assert [(each.quantity, each.value) for each in measured] == [("latency", 101.0)]


def test_files_took_turns_only_when_one_recording_says_so_of_all(tmp_path: Path) -> None:
    models = [write_tflite(tmp_path / "m.tflite"), write_onnx(tmp_path / "m.onnx")]
    both = tuple(sha256(model.read_bytes()).hexdigest() for model in models)
    once = [of(model, together=both) for model in models]
    twice = [of(models[0], together=both), of(models[1], together=both, made_at="2026-02-03T00:00:00+00:00")]

    together = open_device(recording(tmp_path / "once.jsonl", *once)).measure(models, QUICK)
    apart = open_device(recording(tmp_path / "twice.jsonl", *twice)).measure(models, QUICK)

    assert [each[0].together for each in together] == [both, both]
    assert [each[0].together for each in apart] == [(both[0],), (both[1],)]


def test_an_edited_recording_is_another_machine(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")

    before = open_device(recording(tmp_path / "r.jsonl", of(model))).machine
    after = open_device(recording(tmp_path / "r.jsonl", of(model, value=101.0))).machine

    assert before != after


def test_what_was_not_recorded_is_refused(tmp_path: Path) -> None:
    model, other = write_tflite(tmp_path / "m.tflite"), write_onnx(tmp_path / "m.onnx")
    device = open_device(recording(tmp_path / "r.jsonl", of(model)))

    with pytest.raises(RefusedError, match=r"m.onnx \(\w+\) was not recorded; known: m.tflite \("):
        device.measure([other], QUICK)
    with pytest.raises(RefusedError, match="not recorded with 4 threads, only with 1"):
        device.measure([model], replace(QUICK, threads=4))


def test_of_several_devices_one_is_chosen(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    spec = recording(tmp_path / "r.jsonl", of(model), of(model, device="host", value=101.0))

    with pytest.raises(DeviceError, match=r"holds recordings of: host, ssh://pi@board; choose one by \?device=NAME"):
        open_device(spec)
    with pytest.raises(DeviceError, match="holds recordings of"):
        open_device(f"{spec}?device=nobody")
    assert open_device(f"{spec}?device=host").measure([model], QUICK)[0][0].value == 101.0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("{}", "a measurement is expected"),
        ("[]", "holds no measurement"),
        ("null", "a measurement is expected"),
        ("{\n{}", "line 1 is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('[[[[[[{"quantity": "latency"}]]]]]]', "a measurement is expected"),
        ('{"quantity": "latency"}', "key 'model' is missing"),
        ("\udcff", "no text in UTF-8"),
    ],
)
def test_a_file_that_is_no_recording_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(DeviceError, match=why) as caught:
        open_device(f"replay:{tmp_path}/r.jsonl")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": "100"}, "key 'value'"),
        ({"value": float("nan")}, "a value lies within its interval"),
        ({"p90": float("inf")}, "a value lies within its interval"),
        ({"low": 101.0}, "a value lies within its interval"),
        ({"process_medians": [99.0]}, "one median a process; found 1 of 2"),
        ({"process_medians": []}, "one median a process; found 0 of 2"),
        ({"process_medians": [], "processes": 1}, "one median a process; found 0 of 1"),
        ({"valid": False}, "valid = False goes with why_invalid = ''"),
        ({"label": "guessed"}, "key 'label'"),
        ({"threads": 1.5}, "key 'threads'"),
        ({"together": "abc"}, "key 'together'"),
        ({"speed": 1}, "unknown key 'speed'"),
        ({"value": -5.0, "low": -6.0}, "latency = -6; no figure is below 0"),
        ({"process_medians": (0.0, 102.0)}, "latency = 0; .* no latency is 0"),
        ({"p90": -1.0}, "latency = -1; no figure is below 0"),
        ({"unit": "parsecs"}, "unknown unit 'parsecs'; known: %, B, "),
    ],
)
def test_a_measurement_that_cannot_be_is_one_line(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    record = {**of(write_tflite(tmp_path / "m.tflite")).to_json(), **changes}
    (tmp_path / "r.jsonl").write_text(json.dumps(record), encoding="utf-8")

    with pytest.raises(DeviceError, match=why):
        open_device(f"replay:{tmp_path}/r.jsonl")


def test_a_recording_that_is_not_there_or_endless_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="'~nobodyx/x' begins with nobody's home folder; give the whole path"):
        open_device("replay:~nobodyx/x")
    with pytest.raises(DeviceError, match=r"can't read recording .*No such file"):
        open_device(f"replay:{tmp_path}/nothing")
    with pytest.raises(DeviceError, match="larger than 32 MiB"):
        open_device("replay:/dev/zero")
    with pytest.raises(DeviceError, match="write replay:FILE"):
        open_device("replay")


def test_a_recording_tells_a_latency_where_it_holds_one_of_another_machine_than_the_host(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    counted = of(model, quantity="instructions", unit="instructions per inference", label="emulated")
    devices = [
        open_device(recording(tmp_path / f"{number}.jsonl", each))
        for number, each in enumerate((of(model), counted, of(model, device="host")))
    ]

    assert [tells_latency(device) for device in devices] == [True, False, False]
