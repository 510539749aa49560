"""Pour: the target's facts, as settings of the stages. No stage asks `targets` for a profile; this is the one way in."""

from collections.abc import Mapping
from typing import Any

from devices.arm.userland import expected
from targets import FileFormat, Target


def pour(target: Target) -> Mapping[str, Mapping[str, Any]]:
    """Return, by stage, what a target gives to its settings."""
    return {
        "prune": {"channel_multiple": target.channel_multiple.value},
        "scheme": _scheme(target),
        "choose": _measurer(target),
        "sensitivity": _measurer(target),
        "costs": {**_measurer(target), "channel_multiple": target.channel_multiple.value},
        "quantize": _rules(target),
        "export_onnx": _file(target.formats.onnx),
        "ptq_neural": _file(target.formats.onnx),
        "export_tflite": _file(target.formats.tflite),
    }


def _scheme(target: Target) -> dict[str, Any]:
    """Return what the choice of a scheme must know: the emulated core counts where it can, else this machine times."""
    return {
        **_rules(target),
        "onnx": _file(target.formats.onnx),
        "tflite": _file(target.formats.tflite),
        "device": "qemu" if target.emulation and expected().complete else "host",
        "profile": target.model_dump(mode="json"),
        "integers_alone": target.kind == "microcontroller" or target.accelerator is not None,
    }


def _measurer(target: Target) -> dict[str, Any]:
    """Return what a stage that asks for costs must know: the target's file, and who says what it costs there."""
    device = "qemu" if target.emulation and expected().complete else "host"
    return {
        **_rules(target),
        "tflite": _file(target.formats.tflite),
        "device": "vela" if target.accelerator else device,
        "profile": target.model_dump(mode="json"),
    }


def _rules(target: Target) -> dict[str, Any]:
    return {"rules": {"weight_bits": target.quantizer.weight_bits}}


def _file(format_: FileFormat) -> dict[str, Any]:
    return format_.model_dump(mode="json")
