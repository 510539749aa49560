"""Whether each file of a run fits its target, as far as is known before it runs there: `pipeline.forecast`'s answer, kept in the report."""

from collections.abc import Iterator

from pipeline.errors import ModelError
from pipeline.forecast import Forecast, forecast
from pipeline.report.made import Made
from pipeline.report.model import Finding, FitLine, Fits


def fits(made: Made) -> Iterator[Fits]:
    """Give the forecast of each exported file; none for a file that is too large to be read within limits."""
    if made.target is None:
        return
    for row in made.file_rows():
        artifact = made.done[row.model].artifact
        try:
            found = forecast(artifact.file(f"model.{artifact.kind}"), made.target)
        except ModelError:
            continue  # the gate has read it; it says what is wrong with a file
        yield _facts(row.title, found)


def _facts(title: str, found: Forecast) -> Fits:
    lines = tuple(
        FitLine(
            what=line.what,
            label=line.label,
            needs_bytes=line.needs,
            where=line.where,
            has_bytes=line.has,
            fits=line.fits,
        )
        for line in found.lines
    )
    told = tuple(
        Finding(code=each.code, severity=each.severity, message=each.message, where=each.where)
        for each in found.operators
    )
    return Fits(file=title, fits=found.fits, lines=lines, findings=told)
