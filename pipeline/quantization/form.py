"""Form: what a file shows to its caller, whatever is inside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Layout = Literal["NCHW", "NHWC"]
TensorType = Literal["float32", "int8", "uint8"]


@dataclass(frozen=True)
class FileForm:
    """Inputs and outputs of a file.

    Integer types hold for an int8 program; a float one has float inputs and outputs whatever is asked. `metadata` travels in the
    file as text by key. Names are numbered where the network has several ("input_0", "input_1").
    """

    input_layout: Layout = "NCHW"
    input_type: TensorType = "float32"
    output_type: TensorType = "float32"
    dynamic_batch: bool = False
    input_name: str = "input"
    output_name: str = "output"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def input_names(self, count: int) -> list[str]:
        """Return a name for each of `count` inputs."""
        return _numbered(self.input_name, count)

    def output_names(self, count: int) -> list[str]:
        """Return a name for each of `count` outputs."""
        return _numbered(self.output_name, count)


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{number}" for number in range(count)]
