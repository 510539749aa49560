"""Target profiles of a user's own, for lints that ask what a device has."""

from pathlib import Path

from targets import Target, load_target

PROFILE = """
schema = 1
name = "{name}"
title = "{title}"
kind = "{kind}"
soc = {{ value = "made up", source = "test" }}
channel_multiple = {{ value = 8, source = "test" }}
[sources]
test = "a profile for a test"
[[cores]]
name = "core"
count = {{ value = 1, source = "test" }}
clock_mhz = {{ value = 100, source = "test" }}
features = {{ value = {features}, source = "test" }}
[memory]
ram_kib = {{ value = {ram_kib}, source = "test" }}
{flash}
{runtimes}
{accelerator}
[formats.onnx]
input_layout = "NCHW"
input_type = "float32"
output_type = "float32"
dynamic_batch = true
[formats.tflite]
input_layout = "NHWC"
input_type = "int8"
output_type = "int8"
dynamic_batch = false
[quantizer]
weight_bits = {weight_bits}
weight_scales = "{weight_scales}"
activations = "int8"
softmax_scale_denominator = 256
source = "test"
"""
RUNTIME = """
[[runtimes]]
name = "{name}"
format = "{format}"
delegate = "{delegate}"
operators = "{operators}"
minimum = "1.0.0"
source = "test"
"""
MICRO = RUNTIME.format(name="tflite-micro", format="tflite", delegate="cmsis-nn", operators="tflite-micro")
ETHOS = RUNTIME.format(name="tflite-micro", format="tflite", delegate="ethos-u", operators="ethos-u")
BOTH = RUNTIME.format(name="litert", format="tflite", delegate="xnnpack", operators="litert") + RUNTIME.format(
    name="onnxruntime", format="onnx", delegate="cpu", operators="onnxruntime-cpu"
)
ACCELERATOR = """
[accelerator]
name = "Ethos-U55"
configuration = "ethos-u55-128"
system = "Ethos_U55_High_End_Embedded"
memory_mode = "Shared_Sram"
source = "test"
"""


def _load(folder: Path, name: str, **given: object) -> Target:
    defaults = {"title": name, "kind": "board", "features": '["neon"]', "ram_kib": 1_000_000, "flash": ""}
    defaults |= {"runtimes": BOTH, "accelerator": "", "weight_bits": 8, "weight_scales": "channel"}
    path = folder / f"{name}.toml"
    path.write_text(PROFILE.format(name=name, **(defaults | given)))
    return load_target(path)


def x86(folder: Path, *, vnni: bool = False) -> Target:
    return _load(folder, "small-pc", features='["avx2", "vnni"]' if vnni else '["avx2"]')


def phone(folder: Path, *, ram_kib: int = 1_000_000) -> Target:
    return _load(folder, "handset", kind="phone", ram_kib=ram_kib)


def microcontroller(folder: Path, *, ram_kib: int = 256, flash_kib: int = 1024) -> Target:
    flash = f'flash_kib = {{ value = {flash_kib}, source = "test" }}'
    return _load(
        folder, "micro", kind="microcontroller", ram_kib=ram_kib, flash=flash, runtimes=MICRO, features='["dsp"]'
    )


def ethos(folder: Path) -> Target:
    return _load(folder, "npu", kind="microcontroller", runtimes=ETHOS, accelerator=ACCELERATOR, features='["mve"]')


def seven_bits(folder: Path) -> Target:
    return _load(folder, "seven", weight_bits=7)


def one_scale(folder: Path) -> Target:
    return _load(folder, "coarse", weight_scales="tensor")
