"""The main picture of a run as PNG, for a README or a pull request: score, size, multiply-accumulates and latency side by side."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from pipeline.report.charts import CONFIG, in_light, variable
from pipeline.report.figures import way
from pipeline.report.reading import Run

PANEL_PX, SCALE = 250, 1.5
TITLE = {"anchor": "start", "color": variable("ink"), "fontSize": 14, "subtitleColor": variable("muted"), "offset": 10}
DRAWN = ("data", "layer", "height")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""How a PNG begins: PNG specification (third edition, W3C), section 5.2."""


def picture(run: Run) -> bytes:
    """Return the way through the stages of a run's first target."""
    import vl_convert  # noqa: PLC0415 - loads its own engine

    report = run.reports[0]
    panels: list[dict[str, Any]] = []
    for figure in way(report):
        title = {"text": figure.title, "subtitle": figure.brief, **TITLE}
        kept: dict[str, Any] = {key: figure.spec[key] for key in DRAWN if key in figure.spec}
        panels.append({**kept, "width": PANEL_PX, "title": title})
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": {
            "text": f"{report.recipe} for {report.target}",
            "subtitle": f"blue: this network; grey: {report.reference}; orange: control",
            "anchor": "start",
            "fontSize": 18,
            "subtitleFontSize": 12,
            "color": variable("ink"),
            "subtitleColor": variable("muted"),
            "offset": 16,
        },
        "hconcat": panels,
        "spacing": 36,
        "background": variable("page"),
        "padding": 20,
        "config": CONFIG,
    }
    drawn: bytes = vl_convert.vegalite_to_png(in_light(whole), scale=SCALE)
    return packed(drawn)


def packed(png: bytes) -> bytes:
    """Return a PNG with its pixels packed as tightly as zlib can: a third of what the engine leaves."""
    chunks = list(_chunks(png))
    pixels = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    before = [each for each in chunks if each[0] not in (b"IDAT", b"IEND")]
    return SIGNATURE + b"".join(
        _chunk(*each) for each in (*before, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
