"""Every code that a finding can have, as data: what it means, why it matters, what to do.

A code is stable: waivers, baselines and dashboards name it. `check --explain CODE`, SARIF rules and the README read this
table, and a test breaks one file for each line of it. Where the target changes the reason, the finding's own `why` says so.

LiteRT's rules for quantised tensors: https://ai.google.dev/edge/litert/models/quantization_spec
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """What one code stands for: its meaning in one line, why it matters where no target says otherwise, and what to do."""

    meaning: str
    why: str
    fix: str


CODES: Mapping[str, Code] = {
    # Does it run there
    "does-not-load": Code(
        "its runtime refuses the file, or crashes on it",
        "the application fails at start",
        "export it again with an opset and operators that the runtime knows; the message is the runtime's own",
    ),
    "wrong-format": Code(
        "a file of a format that the target has no runtime for",
        "nothing there can open it",
        "export the model as the other format",
    ),
    "unsupported-op": Code(
        "an operator that the target's runtime doesn't have",
        "the file doesn't load there",
        "replace the operator, or choose a target whose runtime has it",
    ),
    "falls-back": Code(
        "an operator that leaves the target's fast path or its accelerator",
        "it runs on slower code, and its tensors are moved there and back",
        "replace or quantise the operator so that the fast path takes it",
    ),
    "custom-op": Code(
        "an operator outside the standard set",
        "only a runtime that was built with it can load the file",
        "export with standard operators, or ship the operator with the application",
    ),
    "flex-op": Code(
        "a TensorFlow operator in a TFLite file (Flex)",
        "it needs the Flex delegate, which brings TensorFlow itself into the application",
        "convert with TFLITE_BUILTINS alone, and replace the operator",
    ),
    "opset-version": Code(
        "an ONNX opset or IR version that the runtime doesn't promise to read",
        "it may be refused, or read by rules that have changed",
        "export with an opset between 7 and the runtime's newest",
    ),
    "schema-version": Code(
        "a TFLite schema version other than 3",
        "runtimes read version 3 alone",
        "convert the model again",
    ),
    "dynamic-shape": Code(
        "a size that is open, where the target needs fixed ones",
        "memory is planned once, when the model is built in",
        "export with fixed sizes",
    ),
    "training-node": Code(
        "an operator that only training needs",
        "outputs change from call to call, or time is spent on nothing",
        "export in evaluation mode (model.eval(), training=False)",
    ),
    # Is it as small and as exact as it says
    "float-op": Code(
        "an operator that computes in float in a file meant to be int8",
        "it is slower than in int8, and its tensors are converted there and back",
        "quantise it, or name its layer in float_layers",
    ),
    "not-fused": Code(
        "weights multiplied in float between quantised tensors",
        "the runtime quantises for nothing and multiplies in float",
        "quantise the operator's output, or give that tensor one user only",
    ),
    "float-weight": Code(
        "weights stored as float in a file meant to be int8",
        "they take four times the room",
        "store them as int8",
    ),
    "hybrid": Code(
        "integer weights with float activations",
        "each operator quantises its input again at every call; runtimes without a floating-point unit refuse it",
        "quantise the activations too, with calibration samples",
    ),
    "input-type": Code(
        "an input whose type isn't the one that was meant",
        "the caller's code breaks, or an operator converts it at each call",
        "export it with that type",
    ),
    "output-type": Code(
        "an output whose type isn't the one that was meant",
        "the caller's code breaks, or an operator converts it at each call",
        "export it with that type",
    ),
    "batch": Code("a batch size that isn't as promised", "the caller's code breaks", "export it with that batch size"),
    "shape": Code("a size beside the batch that isn't fixed", "the caller's code breaks", "export with fixed sizes"),
    "wide-tensor": Code(
        "a tensor of 64-bit numbers",
        "it takes twice the room, and small processors have no instructions for it",
        "use 32-bit numbers",
    ),
    # Weights and scales
    "weight-type": Code(
        "quantised weights of another type than the target's kernels take",
        "int8 is what every runtime takes",
        "quantise weights to int8",
    ),
    "weight-scales": Code(
        "one scale for all channels, or one a channel, against the target's rule",
        "one scale for all channels costs accuracy; kernels that take one scale only refuse more",
        "quantise weights with the granularity that the target asks for",
    ),
    "weight-zero": Code(
        "int8 weights with a zero point",
        "kernels are written for symmetric weights, and others are slower or refused",
        "quantise weights symmetrically",
    ),
    "weight-range": Code(
        "weights beyond the range that the target's rule allows",
        "sums overflow where the kernel counts on the range",
        "quantise weights to the range that the target asks for",
    ),
    "shared-zero": Code(
        "int8 weights of an ONNX file that share one zero point",
        "ONNX Runtime 1.31 refuses the file with session.x64quantprecision=1, without which x86 saturates",
        "give each weight a zero point of its own",
    ),
    "saturates": Code(
        "unsigned activations with signed 8-bit weights, on an x86 processor without VNNI",
        "pairs of products are added in 16 bits there and saturate: outputs are wrong without a sign of it",
        "set session.x64quantprecision=1, or quantise weights to 7 bits",
    ),
    "zero-scale": Code(
        "a scale of zero", "every value of the tensor is lost", "calibrate again with samples that reach this layer"
    ),
    "tiny-scale": Code(
        "a scale below the smallest normal float",
        "processors that flush such numbers to zero lose the tensor",
        "calibrate again with samples that reach this layer",
    ),
    "broken-scale": Code(
        "a scale that is negative, infinite or no number",
        "what the layer gives means nothing",
        "calibrate again; a range in the calibration wasn't finite",
    ),
    "zero-point-range": Code(
        "a zero point that its tensor's type can't hold",
        "the runtime refuses it or cuts it off",
        "quantise again with zero points within the type",
    ),
    "bias-scale": Code(
        "a bias whose scale isn't the input's times the weights'",
        "the bias is added in another unit than the sums",
        "quantise the bias by input scale times weight scale",
    ),
    "fixed-scale": Code(
        "an output whose scale the format fixes, and that has another",
        "the kernel computes with the fixed one, or refuses the file",
        "use the scale and zero point of LiteRT's quantisation specification",
    ),
    "scale-changes": Code(
        "an operator that only moves values, with another scale after it than before it",
        "it copies the integers as they are, so each value is changed",
        "give both tensors one scale, or put a QUANTIZE between them",
    ),
    "broken-weight": Code(
        "weights that are infinite or no number",
        "whatever the layer gives is infinite or no number",
        "look for the step of the training that diverged, and export a sound checkpoint",
    ),
    "tiny-weight": Code(
        "float weights below the smallest normal float",
        "some processors compute with such numbers much more slowly",
        "set them to zero before the export",
    ),
    "empty-weight": Code(
        "weights that are all zero",
        "the layer is computed for nothing",
        "remove the layer, or look for what emptied it",
    ),
    # What is in the file for nothing
    "stray-transpose": Code(
        "a change of layout between two operators",
        "a conversion that lost its layout, paid at each run",
        "pad or reshape in the converter's layout",
    ),
    "duplicate-tensor": Code(
        "constants with the same content, stored more than once",
        "the file is larger than it need be",
        "let the operators share one constant",
    ),
    "unused-tensor": Code(
        "a constant that no operator reads", "the file is larger than it need be", "remove it before the export"
    ),
    "unused-op": Code(
        "an operator whose result nobody reads", "time and memory are spent on nothing", "remove it before the export"
    ),
    # Files around it, and what it tells
    "external-escapes": Code(
        "weights outside the model's folder: an absolute path, '..' or a link",
        "loading the model would read any file that its author names",
        "save the weights inside the file, or beside it",
    ),
    "external-missing": Code(
        "weights in another file that isn't there or is too short",
        "the model can't be loaded",
        "ship the file of weights beside the model, or save them inside it",
    ),
    "external-data": Code(
        "weights in another file", "the model is complete only with it", "save them inside the file if it is small"
    ),
    "metadata-missing": Code(
        "nothing in the file says what made it",
        "nobody can tell later which tool or version to blame",
        "let the exporter write a producer, a description or metadata",
    ),
    "metadata-path": Code(
        "a path of the machine that made the file",
        "it tells a stranger the names of your users and folders",
        "strip the metadata and the documentation strings from the file",
    ),
    "metadata-size": Code(
        "metadata that makes up a large part of the file",
        "flash and downloads are paid for what no runtime reads",
        "strip the metadata from the file",
    ),
    # Does it fit
    "flash-size": Code(
        "a file larger than the target's flash", "it can't be stored there", "prune or choose a smaller network"
    ),
    "ram-peak": Code(
        "more memory at one moment than the target has",
        "the model can't run there",
        "use smaller inputs or fewer channels in the widest layers",
    ),
}
