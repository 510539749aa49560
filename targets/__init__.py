"""Targets: facts about devices, as data; one TOML file a device, each fact with its source.

`load_target("pixel-8")` reads a profile that ships here; `load_target("my-board.toml")` reads a user's own by the same
rules. What no source gives is absent, and `describe` shows it as "not published"; nothing is guessed. `operators("litert")`
says what a runtime takes.

Names of profiles are the device's own name in lower case, words joined by "-". A source is a page, a data sheet, or a
file and its commit.
"""

from targets.facts import NOT_PUBLISHED, describe
from targets.operator_table import Operator, OperatorTable, Placement, known_tables, operators
from targets.profiles import MAX_PROFILE_BYTES, known_targets, load_target
from targets.schema import (
    SCHEMA,
    Accelerator,
    Calibration,
    Core,
    Emulation,
    Fact,
    Feature,
    FileFormat,
    Formats,
    Layout,
    Memory,
    Positive,
    Published,
    Quantizer,
    Record,
    Runtime,
    Target,
    TensorType,
    Value,
)

__all__ = [
    "MAX_PROFILE_BYTES",
    "NOT_PUBLISHED",
    "SCHEMA",
    "Accelerator",
    "Calibration",
    "Core",
    "Emulation",
    "Fact",
    "Feature",
    "FileFormat",
    "Formats",
    "Layout",
    "Memory",
    "Operator",
    "OperatorTable",
    "Placement",
    "Positive",
    "Published",
    "Quantizer",
    "Record",
    "Runtime",
    "Target",
    "TensorType",
    "Value",
    "describe",
    "known_tables",
    "known_targets",
    "load_target",
    "operators",
]
