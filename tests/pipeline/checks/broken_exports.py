"""The list of broken exports: name, code that must be found, severity, how it is built, and for which target."""

import numpy as np

from pipeline.checks.finding import Promises
from tests import small_files
from tests.pipeline.checks import profiles
from tests.pipeline.checks.corpus import (
    Broken,
    another_scale,
    batch_normalisation,
    bypassed,
    constant,
    custom_domain,
    dropout,
    duplicate,
    external,
    float64,
    float_onnx_with,
    float_tflite_with,
    heavy_metadata,
    idle_dropout,
    ir_version,
    no_author,
    nothing,
    one_scale,
    onnx_with,
    open_size,
    opset,
    path_told,
    shared_zero,
    tflite_with,
    training_information,
    transposed_pair,
    unknown_operator,
    unsigned_weights,
    unused_constant,
    unused_node,
    wide_input,
)
from tests.pipeline.checks.tflite_defects import (
    custom_operator,
    dead_operator,
    float_edges,
    hybrid,
    int64_output,
    no_description,
    open_batch,
    open_height,
    other_operator,
    reshaped_to_another_scale,
    scaled,
    schema_version,
    softmax,
    stored,
    unused_tensor,
)

SOUND = small_files.weights()
FLOAT_CONV = (SOUND.conv * SOUND.conv_scales[:, None, None, None]).astype(np.float32)
NAN = np.where(np.arange(72).reshape(FLOAT_CONV.shape) == 7, np.float32("nan"), FLOAT_CONV)
SMALL = np.float32(1e-40)

LOADS = (
    Broken("operator nobody knows", "does-not-load", "error", onnx_with(unknown_operator), also=("float-op", "not-fused")),
    Broken("domain nobody knows", "custom-op", "error", float_onnx_with(custom_domain), also=("does-not-load",)),
    Broken("custom operator", "custom-op", "error", float_tflite_with(custom_operator("Acme")), also=("does-not-load",)),
    Broken("TensorFlow's operator", "flex-op", "error", float_tflite_with(custom_operator("FlexErf")), ("does-not-load",)),
    Broken("opset of the future", "opset-version", "error", float_onnx_with(opset(99)), also=("does-not-load",)),
    Broken("opset of the past", "opset-version", "warning", float_onnx_with(opset(6)), also=("does-not-load",)),
    Broken("IR version of the future", "opset-version", "error", float_onnx_with(ir_version), also=("does-not-load",)),
    Broken("other schema", "schema-version", "error", tflite_with(schema_version), also=("does-not-load",)),
    Broken("ONNX for a microcontroller", "wrong-format", "error", onnx_with(nothing), target=profiles.microcontroller),
    Broken("operator that TFLM lacks", "unsupported-op", "error", tflite_with(other_operator("SIGN")), ("does-not-load",), profiles.microcontroller),
    Broken("float file for an NPU", "falls-back", "warning", float_tflite_with(nothing), ("float-op", "float-weight", "input-type", "output-type"), profiles.ethos),
    Broken("open batch, planned memory", "dynamic-shape", "error", tflite_with(open_batch), target=profiles.microcontroller),
    Broken("open height", "dynamic-shape", "error", tflite_with(open_height), target=profiles.ethos),
    Broken("too large for flash", "flash-size", "error", tflite_with(unused_tensor), ("unused-tensor",), lambda folder: profiles.microcontroller(folder, flash_kib=2)),
    Broken("too large for flash with the weights beside it", "flash-size", "error", external("weights.bin", make=4096, length=4096), ("wrong-format", "does-not-load", "external-data"), lambda folder: profiles.microcontroller(folder, flash_kib=2)),
    Broken("too large for memory", "ram-peak", "error", float_onnx_with(nothing), target=lambda folder: profiles.phone(folder, ram_kib=1)),
)  # fmt: skip

TRAINING = (
    Broken("dropout switched on", "training-node", "error", float_onnx_with(dropout)),
    Broken("dropout left in", "training-node", "note", float_onnx_with(idle_dropout)),
    Broken("batch statistics", "training-node", "error", float_onnx_with(batch_normalisation)),
    Broken("training information", "training-node", "warning", float_onnx_with(training_information)),
    Broken("double precision", "wide-tensor", "warning", float_onnx_with(float64)),
    Broken("int64 input", "wide-tensor", "note", float_onnx_with(wide_input)),
    Broken("int64 output on a microcontroller", "wide-tensor", "warning", tflite_with(int64_output), ("unsupported-op",), profiles.microcontroller),
)  # fmt: skip

ALL = Promises(int8="all", input_type="int8", output_type="int8", dynamic_batch=False)
PROMISED = (
    Broken("mean in float", "float-op", "warning", onnx_with(nothing, pool="ReduceMean")),
    Broken("mean in float, all promised", "float-op", "error", onnx_with(nothing, pool="ReduceMean"), promises=Promises(int8="all")),
    Broken("output never quantised", "not-fused", "warning", onnx_with(bypassed), also=("float-op", "unused-op")),
    Broken("float weights", "float-weight", "warning", onnx_with(nothing, float_weights=True)),
    Broken("float file sold as int8", "float-weight", "error", float_tflite_with(nothing), ("float-op", "input-type", "output-type"), promises=ALL),
    Broken("weights quantised alone", "hybrid", "note", float_tflite_with(hybrid)),
    Broken("float input of int8 file", "input-type", "warning", tflite_with(float_edges), ("output-type",), profiles.phone),
    Broken("float output of int8 file", "output-type", "note", tflite_with(float_edges)),
    Broken("input promised int8", "input-type", "error", tflite_with(float_edges), ("output-type",), promises=ALL),
    Broken("batch promised open", "batch", "error", onnx_with(nothing, batch=1), promises=Promises(int8="all", dynamic_batch=True)),
    Broken("height promised fixed", "shape", "error", onnx_with(open_size), promises=Promises(int8="all", dynamic_batch=True)),
)  # fmt: skip

WEIGHTS = (
    Broken("unsigned weights", "weight-type", "error", onnx_with(unsigned_weights), promises=Promises(int8="all")),
    Broken("one scale for all channels", "weight-scales", "warning", onnx_with(one_scale)),
    Broken("one scale a channel where one is asked", "weight-scales", "warning", tflite_with(nothing), target=profiles.one_scale),
    Broken("weights with a zero point", "weight-zero", "warning", onnx_with(constant("conv.zero_points", np.full(4, 3, np.int8)))),
    Broken("weights of -128", "weight-range", "warning", tflite_with(stored("dense.weight", np.full(12, -128, np.int8)))),
    Broken("8-bit weights where 7 are asked", "weight-range", "warning", tflite_with(nothing), target=profiles.seven_bits),
    Broken("one zero point for two weights", "shared-zero", "warning", onnx_with(shared_zero), ("weight-scales", "float-op", "not-fused")),
    Broken("saturating sums", "saturates", "warning", onnx_with(nothing), target=profiles.x86),
    Broken("weights that are no number", "broken-weight", "error", float_onnx_with(constant("conv.weight", NAN))),
    Broken("infinite weights", "broken-weight", "error", float_tflite_with(stored("dense.weight", np.full(12, np.inf, np.float32)))),
    Broken("denormal weights", "tiny-weight", "warning", float_onnx_with(constant("conv.weight", np.full_like(FLOAT_CONV, SMALL)))),
    Broken("weights all zero", "empty-weight", "warning", tflite_with(stored("dense.weight", np.zeros(12, np.int8)))),
)  # fmt: skip

SCALES = (
    Broken("scale of zero", "zero-scale", "error", tflite_with(scaled("conv", 0.0, -128)), ("does-not-load",)),
    Broken("scale of zero in ONNX", "zero-scale", "error", onnx_with(constant("r.scale", np.array(0, np.float32)))),
    Broken("denormal scale", "tiny-scale", "warning", onnx_with(constant("r.scale", np.array(SMALL)))),
    Broken("scale that is no number", "broken-scale", "error", tflite_with(scaled("pooled", float("nan"), -128)), ("does-not-load", "bias-scale")),
    Broken("negative scale", "broken-scale", "error", onnx_with(constant("r.scale", np.array(-0.03, np.float32)))),
    Broken("zero point beyond int8", "zero-point-range", "error", tflite_with(scaled("conv", 0.03, 300)), ("does-not-load",)),
    Broken("bias in another unit", "bias-scale", "error", tflite_with(scaled("dense.bias", 0.5)), ("does-not-load",)),
    Broken("softmax with a scale of its own", "fixed-scale", "error", tflite_with(softmax(0.1, 0)), ("does-not-load",)),
    Broken("reshape to another scale", "scale-changes", "error", tflite_with(reshaped_to_another_scale), ("does-not-load",)),
    Broken("dequantised by another scale", "scale-changes", "error", onnx_with(another_scale), ("float-op", "not-fused")),
)  # fmt: skip

WASTE = (
    Broken("layout to and fro", "stray-transpose", "warning", tflite_with(nothing, transposed=True)),
    Broken("layout to and fro in ONNX", "stray-transpose", "note", float_onnx_with(transposed_pair)),
    Broken("one table twice", "duplicate-tensor", "warning", float_onnx_with(duplicate)),
    Broken("constant nobody reads", "unused-tensor", "warning", onnx_with(unused_constant)),
    Broken("tensor nobody reads", "unused-tensor", "warning", tflite_with(unused_tensor)),
    Broken("operator nobody reads", "unused-op", "warning", tflite_with(dead_operator)),
    Broken("node nobody reads", "unused-op", "note", float_onnx_with(unused_node)),
)  # fmt: skip

AROUND = (
    Broken("weights at an absolute path", "external-escapes", "error", external("/etc/passwd")),
    Broken("weights at a Windows path", "external-escapes", "error", external("C:\\weights.bin")),
    Broken("weights above the folder", "external-escapes", "error", external("../../weights.bin")),
    Broken("weights behind a link", "external-escapes", "error", external("weights.bin", make=288, link="elsewhere.bin")),
    Broken("weights that are gone", "external-missing", "error", external("weights.bin")),
    Broken("weights cut off", "external-missing", "error", external("weights.bin", make=100)),
    Broken("weights beside the model", "external-data", "note", external("weights.bin", make=288)),
    Broken("no author", "metadata-missing", "note", onnx_with(no_author)),
    Broken("no description", "metadata-missing", "note", tflite_with(no_description)),
    Broken("path of a machine", "metadata-path", "warning", onnx_with(path_told)),
    Broken("source code in metadata", "metadata-size", "warning", onnx_with(heavy_metadata)),
)  # fmt: skip

BROKEN = (*LOADS, *TRAINING, *PROMISED, *WEIGHTS, *SCALES, *WASTE, *AROUND)
