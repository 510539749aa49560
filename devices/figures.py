"""Figures that nobody timed: what a compiler or an interpreter says once of a file, as measurements without spread."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from devices import Label, Measurement


@dataclass(frozen=True)
class Figure:
    """One quantity; `how` says where it comes from, `why_invalid` what it leaves out."""

    quantity: str
    unit: str
    value: float
    label: Label
    how: str
    why_invalid: str = ""


def as_measurements(
    model: Path, figures: tuple[Figure, ...], *, device: str, machine: str, runtime: tuple[str, str], threads: int
) -> tuple[Measurement, ...]:
    """Return the figures of a file as measurements; an estimate without a known error has a band without width."""
    digest = sha256(model.read_bytes()).hexdigest()
    return tuple(
        Measurement(
            model=model.name,
            model_sha256=digest,
            quantity=figure.quantity,
            unit=figure.unit,
            label=figure.label,
            device=device,
            machine=machine,
            runtime=runtime[0],
            runtime_version=runtime[1],
            threads=threads,
            value=figure.value,
            low=figure.value,
            high=figure.value,
            samples=1,
            processes=1,
            process_medians=(figure.value,),
            valid=not figure.why_invalid,
            why_invalid=figure.why_invalid,
            together=(digest,),
            how=figure.how,
        )
        for figure in figures
    )
