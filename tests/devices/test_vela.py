"""Arm's compiler as a device, with a target of the tests' own."""

from dataclasses import replace
from pathlib import Path

import pytest

from devices import Request, open_device, vela
from devices.vela import Vela, connect, read_estimate
from pipeline.errors import DeviceError, MissingExtraError, RefusedError
from targets import Accelerator, Fact, load_target
from tests.small_files import write_float_tflite, write_onnx, write_tflite

HEAD = "Original Operator,NNG Operator,Target,Staging Usage,Peak% (Staging),Op Cycles,Network% (cycles),NPU,SRAM AC,DRAM AC,OnFlash AC,OffFlash AC,MAC Count,Network% (MAC),Util% (MAC),Name"
SUMMARY = "experiment,core_clock,sram_memory_used,cycles_total\ndefault,500000000.0,5.0,5200\n"


def accelerator(*, sram_kib: int | None = None, clock_mhz: int | None = None) -> Accelerator:
    return Accelerator(
        name="Ethos-U55",
        configuration="ethos-u55-128",
        system="Ethos_U55_High_End_Embedded",
        memory_mode="Shared_Sram",
        sram_kib=None if sram_kib is None else Fact(value=sram_kib, source="test"),
        clock_mhz=None if clock_mhz is None else Fact(value=clock_mhz, source="test"),
        source="test",
    )


def test_an_int8_file_gets_its_cycles_latency_memory_and_share(tmp_path: Path) -> None:
    device = Vela(accelerator(sram_kib=64), "5.2.0")

    [measured] = device.measure([write_tflite(tmp_path / "m.tflite")], Request())

    by_name = {measurement.quantity: measurement for measurement in measured}
    assert measured[0].quantity == "latency"
    assert set(by_name) == {"latency", "cycles", "sram", "operators on the processor"}
    assert by_name["latency"].value == pytest.approx(by_name["cycles"].value / 500)  # 500 MHz, in microseconds
    assert 0 < by_name["sram"].value < 64
    assert by_name["operators on the processor"].value == 0
    assert all(each.label == "estimated" and each.valid and "publishes no error" in each.how for each in measured)
    assert (measured[0].low, measured[0].high) == (measured[0].value, measured[0].value)


def test_the_profiles_clock_is_the_one_that_counts(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")

    [half], [whole] = (Vela(accelerator(clock_mhz=mhz), "5.2.0").measure([model], Request()) for mhz in (250, 500))

    assert half[0].value == pytest.approx(2 * whole[0].value)
    assert half[0].machine != whole[0].machine


def test_a_float_file_is_refused_although_the_compiler_ends_well(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"float.tflite: none of its operators runs on the Ethos-U55.*quantise"):
        Vela(accelerator(), "5.2.0").measure([write_float_tflite(tmp_path / "float.tflite")], Request())


def test_a_file_that_needs_more_sram_than_the_device_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Vela(accelerator(sram_kib=64), "5.2.0")
    found = replace(device.estimate(write_tflite(tmp_path / "m.tflite")), sram_kib=1474.0)
    monkeypatch.setattr(device, "estimate", lambda _: found)

    with pytest.raises(RefusedError, match="it needs 1474 KiB of SRAM, the device has 64 KiB"):
        device.measure([tmp_path / "m.tflite"], Request())


def test_an_onnx_file_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"it compiles int8 \.tflite files") as caught:
        Vela(accelerator(), "5.2.0").measure([write_onnx(tmp_path / "m.onnx")], Request())
    assert caught.value.model == tmp_path / "m.onnx"


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))

    with pytest.raises(RefusedError, match=r"vela can't compile broken.tflite: it ") as caught:
        Vela(accelerator(), "5.2.0").measure([broken], Request())
    assert "\n" not in str(caught.value)


def test_operators_left_on_the_processor_are_named_and_make_the_latency_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "Conv2D,Conv2D,NPU,1,1,2976,1,1,1,0,0,1,1,1,1,a",
        "Softmax,Passthrough,CPU,0,0,0,0,0,0,0,0,0,0,0,1,end,1\x1b",
    ]
    found = read_estimate(SUMMARY, "\n".join([HEAD, *lines]))
    device = Vela(accelerator(), "5.2.0")
    monkeypatch.setattr(device, "estimate", lambda _: found)

    [measured] = device.measure([write_tflite(tmp_path / "m.tflite")], Request())

    by_name = {measurement.quantity: measurement for measurement in measured}
    assert by_name["operators on the processor"].value == 50
    assert not by_name["latency"].valid
    assert by_name["latency"].why_invalid == (
        "1 of 2 operators stay on the processor, where the estimate costs them nothing: Softmax 'end,1'"
    )
    assert by_name["sram"].valid


@pytest.mark.parametrize("tables", [("", ""), ("a,b\n1,2\n", HEAD), (SUMMARY.replace("5200", "many"), HEAD)])
def test_tables_of_another_form_are_an_error_and_no_number(tables: tuple[str, str]) -> None:
    with pytest.raises(DeviceError, match="tables can't be read"):
        read_estimate(*tables)


def test_it_wants_a_target_with_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("raspberry-pi-4")

    with pytest.raises(DeviceError, match="no target is given"):
        open_device("vela")
    with pytest.raises(DeviceError, match="target raspberry-pi-4 has none"):
        open_device("vela", target)
    with pytest.raises(DeviceError, match="no device 'vela:x'"):
        open_device("vela:x", target)

    fitted = target.model_copy(update={"accelerator": accelerator()})
    assert connect("vela", fitted).machine == "ethos-u55-128, Ethos_U55_High_End_Embedded, Shared_Sram"
    monkeypatch.setattr("devices.vela.version", _not_installed)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgepress\[boards\]'"):
        connect("vela", fitted)


def _not_installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


def test_it_says_whether_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert vela.state().startswith("ethos-u-vela 5")

    monkeypatch.setattr(vela, "version", _not_installed)

    assert vela.state() == "not installed: pip install 'edgepress[boards]'"
