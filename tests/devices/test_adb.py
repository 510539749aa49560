"""Phones by the real adb client, against a fake adbd on loopback: what comes home, what is refused, and that nothing stays."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from devices import QUICK, adb, open_device, phone
from devices.adb import connect, read_devices
from pipeline.errors import DeviceError
from tests.devices.boards import gone, until
from tests.devices.fake_adbd import FakePhone, adb_server, client
from tests.small_files import write_onnx, write_tflite

ONCE = replace(QUICK, processes=1)
HEAD = """echo "INFO: STARTING!"
echo "INFO: Num threads: [1]"
echo "VERBOSE: Replacing 5 out of 6 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions for subgraph 0."
echo "INFO: Initialized session in 3.337ms."
echo "INFO: count=9 first=81913 curr=55502 min=55502 max=81913 avg=58984.7 std=8115"
"""
TIMED = 'echo "INFO: count=50 first=56576 curr=56299 min=54669 max=60236 avg=56265.8 std=982 p5=55001 median=56250 p95=58000"\n'
TAIL = """echo "INFO: Inference timings in us: Init: 3337, First inference: 81913, Warmup (avg): 58984.7, Inference (avg): 56265.8"
echo "INFO: Memory footprint delta from the start of the tool (MB): init=4.5 overall=7.5"
"""
BENCHMARK = f"#!/bin/sh\n{HEAD}{TIMED}{TAIL}"
PROPERTIES = """case "$1" in
  ro.product.manufacturer) echo Fake;; ro.product.model) echo "Phone 9";; ro.soc.model) echo FS900;;
  ro.build.version.release) echo 14;; ro.build.id) echo UQ1A;; ro.product.cpu.abi) echo arm64-v8a;;
esac"""


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with adb_server(tmp_path_factory.mktemp("adb")):
        yield


@pytest.fixture(autouse=True)
def leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_LEASES", str(tmp_path / "leases"))
    return tmp_path / "leases"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakePhone]:
    found = FakePhone(tmp_path / "phone")
    found.install("getprop", PROPERTIES)
    client("connect", found.serial)
    assert until(lambda: read_devices(client("devices", "-l")).get(found.serial) == "device")
    yield found
    found.cuts = 0
    client("disconnect", found.serial)
    found.close()
    assert until(lambda: found.left() == [])


def spec(fake: FakePhone, tmp_path: Path, *, options: str = "", script: str = BENCHMARK) -> str:
    program = tmp_path / "benchmark; 'model'"
    program.write_text(script, encoding="utf-8")
    return f"adb:{fake.serial}?benchmark={program}{options}"


def test_a_phone_is_measured_by_the_benchmark_program(tmp_path: Path, fake: FakePhone) -> None:
    models = [write_tflite(tmp_path / "m.tflite"), write_tflite(tmp_path / "a name; touch 'x' $(touch y).tflite")]
    device = open_device(spec(fake, tmp_path, options="&cores=0"))

    [measured, second] = device.measure(models, QUICK)

    latency, load, first, peak = measured
    assert (latency.value, latency.samples, latency.p90, latency.label) == (56250, 100, None, "measured")
    assert (load.value, first.value, peak.value) == (3337, 81913, 7.5 * 1024)
    assert latency.machine == f"Fake Phone 9, FS900, {os.cpu_count()} cores, Android 14 UQ1A arm64-v8a, on cores 0"
    assert (
        latency.how
        == "medians of 2 processes of benchmark_model; TfLiteXNNPackDelegate ran 5 of 6 operators; on core 0"
    )
    assert latency.runtime_version == sha256(BENCHMARK.encode()).hexdigest()[:12]
    assert (second[0].model, latency.valid) == (models[1].name, True)
    assert any("taskset 1 " in command and "--num_threads=1" in command for command in fake.commands)


def test_an_older_program_tells_means_and_that_is_said(tmp_path: Path, fake: FakePhone) -> None:
    old = HEAD + TIMED.replace(" p5=55001 median=56250 p95=58000", "") + TAIL

    [(latency, *_)] = open_device(spec(fake, tmp_path, script=f"#!/bin/sh\n{old}")).measure(
        [write_tflite(tmp_path / "m.tflite")], ONCE
    )

    assert latency.value == 56265.8
    assert latency.how.startswith("means, the build tells no medians, of 1 processes")


@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("dumpsys", 'echo "Thermal Status: 3"', "throttled for heat (thermal status 3)"),
        ("settings", "echo 1", "the battery saver was on"),
    ],
)
def test_a_phone_that_is_held_back_gives_no_valid_number(
    tmp_path: Path, fake: FakePhone, name: str, said: str, why: str
) -> None:
    fake.install("dumpsys", "echo '  level: 57'")
    fake.install(name, said)

    [(latency, *_, peak)] = open_device(spec(fake, tmp_path)).measure([write_tflite(tmp_path / "m.tflite")], ONCE)

    assert why in latency.why_invalid
    assert not latency.valid
    assert peak.valid


def test_a_phone_of_before_android_7_tells_how_a_program_ended(tmp_path: Path) -> None:
    old, model = FakePhone(tmp_path / "old", features=""), write_tflite(tmp_path / "m.tflite")
    old.install("getprop", PROPERTIES)
    client("connect", old.serial)
    assert until(lambda: read_devices(client("devices", "-l")).get(old.serial) == "device")

    [(latency, *_)] = open_device(spec(old, tmp_path)).measure([model], ONCE)
    with pytest.raises(DeviceError, match="ended with 3"):
        open_device(spec(old, tmp_path, script="#!/bin/sh\nexit 3\n")).measure([model], ONCE)

    client("disconnect", old.serial)
    old.close()
    assert latency.value == 56250


def test_a_line_that_is_cut_once_is_taken_up_again(tmp_path: Path, fake: FakePhone) -> None:
    fake.cut_at, fake.cuts = "num_threads", 1
    slow = spec(fake, tmp_path, script=BENCHMARK.replace("#!/bin/sh\n", "#!/bin/sh\nsleep 1\n"))

    [(latency, *_)] = open_device(slow).measure([write_tflite(tmp_path / "m.tflite")], ONCE)

    assert (latency.value, fake.cuts) == (56250, 0)
    assert gone(latency.model_sha256)


def test_a_line_that_is_cut_twice_is_one_clear_line(tmp_path: Path, fake: FakePhone) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    fake.cut_at, fake.cuts = "num_threads", 2
    slow = spec(fake, tmp_path, script=BENCHMARK.replace("#!/bin/sh\n", "#!/bin/sh\nsleep 1\n"))

    with pytest.raises(DeviceError, match=r"the connection broke twice \(.*\); see to the link") as caught:
        open_device(slow).measure([model], ONCE)
    assert "\n" not in str(caught.value)
    assert gone(sha256(model.read_bytes()).hexdigest())


def test_a_line_that_is_cut_while_a_file_goes_over_it_is_taken_up_again(tmp_path: Path, fake: FakePhone) -> None:
    fake.cut_at, fake.cuts, fake.cut_after = "sync:", 1, 0.0

    [(latency, *_)] = open_device(spec(fake, tmp_path)).measure([write_tflite(tmp_path / "m.tflite")], ONCE)

    assert (latency.value, fake.cuts) == (56250, 0)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            "#!/bin/sh\necho 'ERROR: Failed to load model x' >&2\necho 'ERROR: Benchmarking failed.' >&2\nexit 1\n",
            "Failed to load",
        ),
        ("#!/bin/sh\nkill -SEGV $$\n", "crashed with SIGSEGV"),
        ("#!/bin/sh\necho hello\n", "printed no timings; is it LiteRT's benchmark_model"),
        (BENCHMARK.replace("count=50", "count=0"), "timed nothing"),
        ("not a program", "can't run m.tflite"),
        ("#!/bin/sh\nwhile :; do head -c 1000000 /dev/zero; done\n", "printed more than 8 MiB and was stopped"),
    ],
)
def test_a_program_that_fails_is_one_line(tmp_path: Path, fake: FakePhone, script: str, why: str) -> None:
    with pytest.raises(DeviceError, match=why) as caught:
        open_device(spec(fake, tmp_path, script=script)).measure([write_tflite(tmp_path / "m.tflite")], ONCE)
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_stopped_there(
    tmp_path: Path, fake: FakePhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone, "wall_seconds", lambda _: 0.5)
    model = write_tflite(tmp_path / "m.tflite")

    with pytest.raises(DeviceError, match=r"can't run m\.tflite: it stopped after"):
        open_device(spec(fake, tmp_path, script="#!/bin/sh\nexec sleep 601\n")).measure([model], ONCE)
    assert gone("sleep\x00601")


def test_a_phone_with_a_python_runs_the_runner(tmp_path: Path, fake: FakePhone) -> None:
    device = open_device(f"adb:{fake.serial}?python={sys.executable}")

    [(measured, *_)] = device.measure([write_onnx(tmp_path / "m.onnx")], ONCE)

    assert (measured.runtime, measured.label) == ("onnxruntime", "measured")


def test_only_what_the_program_can_do_is_asked_of_it(tmp_path: Path, fake: FakePhone) -> None:
    device, model = open_device(spec(fake, tmp_path)), write_tflite(tmp_path / "m.tflite")

    with pytest.raises(DeviceError, match="takes TFLite files"):
        device.measure([write_onnx(tmp_path / "m.onnx")], ONCE)
    with pytest.raises(DeviceError, match=r"samples of an \.npz"):
        device.measure([model], replace(ONCE, inputs="x.npz"))
    with pytest.raises(DeviceError, match="an input named 'a:b'"):
        device.measure([model], replace(ONCE, shapes=(("a:b", "1x2"),)))
    with pytest.raises(DeviceError, match="has no core 99"):
        open_device(spec(fake, tmp_path, options="&cores=99")).measure([model], ONCE)
    device.measure([model], replace(ONCE, shapes=(("x", "1x4x4x2"), ("y", "1x2"))))
    assert any("--input_layer=x,y --input_layer_shape=1,4,4,2:1,2" in command for command in fake.commands)


def test_a_phone_that_refuses_this_computer_says_what_to_do(tmp_path: Path, fake: FakePhone) -> None:
    model = write_tflite(tmp_path / "m.tflite")
    fake.authorised = False
    fake.cut()
    assert until(lambda: read_devices(client("devices", "-l")).get(fake.serial) == "unauthorized")

    with pytest.raises(DeviceError, match="the phone is unauthorized; unlock the phone and accept this computer's key"):
        open_device(spec(fake, tmp_path)).measure([model], ONCE)
    fake.authorised = True
    fake.cut()


def test_without_a_serial_the_only_phone_is_taken(tmp_path: Path, fake: FakePhone) -> None:
    one = open_device(spec(fake, tmp_path).replace(f":{fake.serial}", ""))
    other = FakePhone(tmp_path / "other")
    client("connect", other.serial)

    with pytest.raises(
        DeviceError, match=r"several phones are there: 127.0.0.1:\d+ \(device\), .*; name one: adb:SERIAL"
    ):
        connect("adb", None)
    client("disconnect", other.serial)
    other.close()
    assert one.name == f"adb:{fake.serial}"


def test_a_phone_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    program = tmp_path / "benchmark"
    program.touch()

    with pytest.raises(DeviceError, match="adb: no phone is there; plug one in"):
        connect("adb", None)
    with pytest.raises(DeviceError, match="adb:gone: no such phone; there: none"):
        _ = connect(f"adb:gone?benchmark={program}", None).machine


def test_without_the_program_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(adb.BENCHMARK, raising=False)

    with pytest.raises(DeviceError, match=r"needs LiteRT's benchmark_model .*give \?benchmark=PATH, or set EDGEPRESS"):
        connect("adb:x", None)
    monkeypatch.setenv(adb.BENCHMARK, str(tmp_path / "nothing"))
    with pytest.raises(DeviceError, match=r"'~nobodyx/b' begins with nobody's home folder; give the whole path"):
        connect("adb:x?benchmark=~nobodyx/b", None)
    with pytest.raises(DeviceError, match=r"no file .*nothing"):
        connect("adb:x", None)


@pytest.mark.parametrize("text", ["adb:", "adb:-s", "adb:a b", "adb:x;reboot", "adbx", "adb:x?benchmark=a&python=b"])
def test_a_spec_that_is_wrong_is_one_line(text: str) -> None:
    with pytest.raises(DeviceError, match=r"no device|not both"):
        connect(text, None)


def test_without_the_client_it_is_said_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)

    with pytest.raises(DeviceError, match=r"can't start adb .*apt-get install adb"):
        connect("adb", None)


def test_the_states_of_all_phones_are_read() -> None:
    text = (
        "* daemon started successfully\nList of devices attached\n"
        "8A1X0LMNO  device usb:1-1 product:shiba model:Pixel_8 device:shiba transport_id:3\n"
        "emulator-5554\toffline\n"
        "0123456789ABCDEF       unauthorized usb:1-2 transport_id:4\n"
        "????????????           no permissions (user in plugdev group; are your udev rules wrong?); see [http://x] usb:2-1\n\n"
    )

    assert read_devices(text) == {
        "8A1X0LMNO": "device",
        "emulator-5554": "offline",
        "0123456789ABCDEF": "unauthorized",
        "????????????": "no permissions",
    }
