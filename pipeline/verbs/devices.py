"""`edgepress devices`: what can measure a file here, what has to be fetched first, and what an estimate rests on."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import TargetError
from pipeline.verbs import completion
from pipeline.verbs.next_command import say_next

if TYPE_CHECKING:
    from targets import Calibration, Target

Setup = Annotated[
    str | None, typer.Option(help="Fetch and build what a device needs, into a cache: qemu.", show_default=False)
]
Calibrated = Annotated[
    str | None,
    typer.Option(
        help="Show what a target's estimated latency rests on.",
        show_default=False,
        autocompletion=completion.target_names,
    ),
]


def devices(*, setup: Setup = None, calibration: Calibrated = None) -> None:
    """List the devices, set one up, or show a target's calibration and its errors."""
    if setup is not None:
        _set_up(setup)
    if calibration is not None:
        _show_calibration(calibration)
    if setup is None and calibration is None:
        _list()


def _list() -> None:
    from devices import described  # noqa: PLC0415 - with it numpy and the profiles; --help needs neither

    for name, (sentence, state) in described().items():
        typer.echo(f"{name:<8} {sentence}" + (f" [{state}]" if state else ""))


def _set_up(name: str) -> None:
    from devices import set_up  # noqa: PLC0415 - as above

    typer.echo(set_up(name, lambda text: typer.echo(text, err=True)))
    say_next("bench", "MODEL", "--target", "raspberry-pi-4", "--device", name)


def _show_calibration(name: str) -> None:
    from targets import load_target  # noqa: PLC0415 - pydantic models of a profile

    target = load_target(name)
    if target.calibration is None:
        raise TargetError(
            f"target {target.name} has no calibration: nobody published latencies of it that were fitted; "
            f"its files can be ranked by counts; calibrated: {_calibrated()}"
        )
    for line in _calibration_lines(target, target.calibration):
        typer.echo(line)


def _calibrated() -> str:
    from targets import known_targets, load_target  # noqa: PLC0415 - as above

    return ", ".join(name for name in known_targets() if load_target(name).calibration) or "none"


def _calibration_lines(target: "Target", calibration: "Calibration") -> list[str]:
    from devices.latency_model import checks  # noqa: PLC0415 - numpy

    clock = target.cores[0].clock_mhz
    assert clock is not None
    found = checks(calibration.published, clock.value)
    lines = [
        f"{target.title}, {calibration.runtime}: t = a C / (n f) + b D",
        (
            f"a = {calibration.compute:.3f}, b = {calibration.ms_per_mb:.3f} ms/MB, f = {clock.value} MHz; "
            f"fitted to {sum(point.fitted for point in calibration.published)} published figures"
        ),
        "",
        f"{'network':<24}{'precision':<11}{'n':>2}{'C, M':>8}{'D, MB':>8}{'published, ms':>15}{'predicted, ms':>15}{'error':>8}",
    ]
    for check in found:
        point = check.published
        lines.append(
            f"{point.network:<24}{point.precision:<11}{point.threads:>2}{point.mega_cycles:>8.1f}{point.traffic_mb:>8.1f}"
            f"{point.latency_ms:>15.1f}{check.predicted_ms:>15.1f}{check.error:>+8.0%}  "
            + ("left out in its turn" if point.fitted else "never fitted")
        )
    lines += [
        "",
        (
            "each prediction is of a fit without that figure; a latency's band takes errors of "
            f"{calibration.low_percent:+.0f} to {calibration.high_percent:+.0f} %"
        ),
        *(f"source: {target.sources[name]}" for name in sorted({point.source for point in calibration.published})),
    ]
    return lines
