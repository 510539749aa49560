"""The codes of the gate's own findings, beside those of the lint: stable names that waivers and dashboards rely on."""

from collections.abc import Mapping

from pipeline.checks.codes import CODES as LINT_CODES
from pipeline.checks.codes import Code
from pipeline.checks.finding import Finding, Severity
from pipeline.errors import RecipeError, did_you_mean

GATE_CODES: Mapping[str, Code] = {
    "budget-missed": Code(
        "a figure beyond the limit that the budget sets",
        "the product was promised to stay within it",
        "make the model smaller or faster, or raise the limit in the committed budget and say why",
    ),
    "budget-not-shown": Code(
        "a budget line that nothing known can judge",
        "the limit may be broken and nobody would see it",
        "measure on the target's own device (--device), with more runs or samples where the interval is too wide",
    ),
    "device-refuses": Code(
        "a device, or the compiler for it, that won't take the file",
        "the model can't run there",
        "the message is the device's own; mend the file, or choose another target",
    ),
    "baseline-missing": Code(
        "a model that the baseline doesn't know",
        "a regression in it can't be seen",
        "run with --update-baseline and commit the file",
    ),
    "baseline-size": Code(
        "a file that grew beyond the tolerance",
        "downloads and flash are paid by every user",
        "find what grew it, or accept it with --update-baseline",
    ),
    "baseline-macs": Code(
        "more multiplications than the baseline has",
        "each inference costs more time and energy",
        "find the layer that changed, or accept it with --update-baseline",
    ),
    "baseline-float": Code(
        "operators that compute in float now, and did not",
        "they are slower than in int8, and a device without a floating-point unit may refuse them",
        "look for the layer that lost its quantisation, or accept it with --update-baseline",
    ),
    "baseline-memory": Code(
        "more memory than the baseline has",
        "a device that held the old model may not hold this one",
        "find the layer that changed, or accept it with --update-baseline",
    ),
    "baseline-count": Code(
        "more work counted on a device than the baseline has",
        "the model does more than it did, whatever a clock says",
        "look for operators that lost their fast kernel, or accept it with --update-baseline",
    ),
    "baseline-latency": Code(
        "a latency whose whole interval lies above the baseline's",
        "the model got slower on that device",
        "compare both files with edgepress bench --against, or accept it with --update-baseline",
    ),
    "baseline-accuracy": Code(
        "an accuracy or agreement below the baseline's",
        "the model answers worse on the same samples",
        "look for the export step that changed, or accept it with --update-baseline",
    ),
    "baseline-signature": Code(
        "inputs or outputs that changed their name, type or shape",
        "the code that calls the model breaks",
        "export with the old signature, or change the callers and accept it with --update-baseline",
    ),
    "baseline-operators": Code(
        "operators that the baseline doesn't have, or has in another number",
        "a converter may have stopped fusing, or a layer changed",
        "see that it is meant, then accept it with --update-baseline",
    ),
    "baseline-quantisation": Code(
        "scales or zero points that changed",
        "calibration or training gave other ranges; outputs change a little",
        "see that it is meant, then accept it with --update-baseline",
    ),
    "baseline-incomparable": Code(
        "a figure that was taken with another runtime, machine or set of samples",
        "a difference would say nothing about the model",
        "measure the baseline anew with --update-baseline",
    ),
    "reference-mismatch": Code(
        "outputs whose number or shape isn't the reference's",
        "the two files aren't forms of one network, or the export changed what it answers",
        "give the reference that this file was made from",
    ),
    "reference-not-finite": Code(
        "outputs that are infinite or no number where the reference's are finite",
        "whatever is done with them means nothing",
        "look for the first layer that overflows; a scale or a half-precision layer is the usual cause",
    ),
    "reference-unlike": Code(
        "outputs that have nothing to do with the reference's",
        "the file answers something else than the network that it was made from",
        "look for inputs in another layout or range, or for the first layer at which both part",
    ),
    "reference-unjudged": Code(
        "an agreement with a reference for which no limit is set",
        "any difference passes",
        "set one: --budget max_lsb=2, or a label array in the samples and --budget max_drop=0.005",
    ),
    "waiver-expired": Code(
        "a waiver whose date has passed while its finding is still there",
        "what was excused for a time is excused no longer",
        "mend the finding, or give the waiver a new date and a new reason",
    ),
    "waiver-unused": Code(
        "a waiver that excuses nothing",
        "it would hide the next finding that fits it",
        "delete it from the file",
    ),
}


def known_codes() -> dict[str, Code]:
    """Return every code that a finding of `check` can have."""
    return {**LINT_CODES, **GATE_CODES}


def look_up(code: str) -> Code:
    """Return what a code stands for; RecipeError with the nearest known one when there is none."""
    known = known_codes()
    if code not in known:
        raise RecipeError(f"no code {code!r:.80}{did_you_mean(code, known)}; list them with --explain all")
    return known[code]


def found(code: str, message: str, *, severity: Severity, where: str = "") -> Finding:
    """Return one of the gate's findings with the reason and the remedy of its code."""
    meant = GATE_CODES[code]
    return Finding(code, severity, message, where, meant.why, meant.fix)
