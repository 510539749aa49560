"""Rules: how a target wants its numbers, as plain values that `plan()` pours in.

Weights are int8 per channel, symmetric (-127..127); activations are int8 per tensor, affine. That is what TensorFlow Lite's
int8 specification asks for (https://ai.google.dev/edge/litert/models/quantization_spec), and what ONNX Runtime's integer
kernels take too. Seven-bit weights keep the 16-bit sums of x86 processors without VNNI from saturating
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When to use reduce-range").
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Scheme = Literal["static_int8", "dynamic_int8", "float16"]
Format = Literal["onnx", "tflite"]


class Rules(BaseModel):
    """What becomes int8, and how.

    `float_layers` names modules that stay in float at the user's wish ("head", or "blocks.3.attention"; what lies below
    them stays in float too). `formats` are the files that will be written. `whole_int8` makes an operation without an int8
    form an error, for a device that computes in integers alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_bits: Literal[7, 8] = 8
    float_layers: tuple[str, ...] = ()
    whole_int8: bool = False
    formats: tuple[Format, ...] = ("onnx", "tflite")

    @property
    def weight_limit(self) -> int:
        """The largest quantised weight: 127, or 63 with seven bits."""
        return int(2 ** (self.weight_bits - 1)) - 1
