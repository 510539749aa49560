"""What stands in for a target, and how a command line becomes a request."""

from pathlib import Path

import pytest

from pipeline.bench import PAIRED
from pipeline.benchmark import default_device, make_request
from pipeline.errors import DeviceError, ModelError
from targets import load_target


@pytest.mark.parametrize(
    ("target", "device"),
    [
        ("corstone-300", "vela"),
        ("imx93-evk", "vela"),
        ("raspberry-pi-4", "qemu"),
        ("nucleo-l4r5zi", "tflm"),
        ("arduino-nano-33-ble", "tflm"),
    ],
)
def test_a_target_without_a_device_gets_what_stands_in_for_it(target: str, device: str) -> None:
    assert default_device(load_target(target)) == device


def test_this_machine_measures_where_no_target_is_named_and_stands_in_for_none() -> None:
    assert default_device(None) == "host"
    with pytest.raises(DeviceError, match="nothing here stands in for iphone-15; name a device"):
        default_device(load_target("iphone-15"))


def test_a_pair_is_measured_in_more_and_shorter_processes() -> None:
    alone, paired = (make_request(paired=paired, quick=False, threads=2) for paired in (False, True))
    quick = make_request(paired=True, quick=True, threads=1)

    assert paired.processes == quick.processes == PAIRED.processes > alone.processes
    assert quick.min_seconds < paired.min_seconds < alone.min_seconds
    assert alone.threads == paired.threads == 2


def test_a_shape_may_belong_to_an_input_with_an_equals_sign() -> None:
    request = make_request(paired=False, quick=False, threads=1, shapes=("a=b=1x3", "c:0=7"))

    assert request.shapes == (("a=b", "1x3"), ("c:0", "7"))


@pytest.mark.parametrize("shape", ["x", "=1x3", "x=", "x=1x", "x=1X3", "x=-1x3", "x=01x3", "x=1,3", "x=1x3\n"])
def test_what_is_no_shape_is_refused(shape: str) -> None:
    with pytest.raises(ModelError, match="NAME=1x3x224x224"):
        make_request(paired=False, quick=False, threads=1, shapes=(shape,))


def test_inputs_have_shapes_of_their_own() -> None:
    with pytest.raises(ModelError, match="leave out --shape x=1x3"):
        make_request(paired=False, quick=False, threads=1, shapes=("x=1x3",), inputs=Path("x.npz"))
