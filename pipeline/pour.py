"""Pour: the target's facts, as settings of the stages. No stage imports `targets`; this is the one way in."""

from collections.abc import Mapping
from typing import Any

from targets import FileFormat, Target


def pour(target: Target) -> Mapping[str, Mapping[str, Any]]:
    """Return, by stage, what a target gives to its settings."""
    return {
        "prune": {"channel_multiple": target.channel_multiple.value},
        "quantize": {"rules": {"weight_bits": target.quantizer.weight_bits}},
        "export_onnx": _file(target.formats.onnx),
        "export_tflite": _file(target.formats.tflite),
    }


def _file(format_: FileFormat) -> dict[str, Any]:
    return format_.model_dump(mode="json")
