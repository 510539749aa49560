"""The bill of materials: a CycloneDX 1.6 ML-BOM (ECMA-424) of the model, its data and teachers, and the libraries that made it.

https://cyclonedx.org/docs/1.6/json/ ; `modelCard` is its section "Model Card", `data` its component data. Written as plain JSON:
cyclonedx-python-lib 11 has no model card. The tests hold every one to the schema that that library ships.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid5

from packaging.utils import canonicalize_name

from pipeline.archive.manifest import Manifest
from pipeline.archive.reader import Entry
from pipeline.artifact import canonical_json
from pipeline.provenance import NOT_STATED
from pipeline.report.model import Interval, Report

Json = dict[str, Any]

SPACE = UUID("8f8a7a52-2f0c-5d86-9c9c-3a1f0e7b6d41")
"""Under which serial numbers are made, so that the same run has the same one (RFC 9562, version 5)."""

MEDIA_TYPES = {".json": "application/json", ".md": "text/markdown", ".html": "text/html", ".toml": "application/toml"}
SPDX = {
    each.lower(): each
    for each in (
        *(
            "Apache-2.0",
            "BSD-2-Clause",
            "BSD-3-Clause",
            "CC0-1.0",
            "CC-BY-3.0",
            "CC-BY-4.0",
            "CC-BY-SA-3.0",
            "CC-BY-SA-4.0",
        ),
        *("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "GPL-3.0", "LGPL-3.0", "MIT", "MPL-2.0", "Unlicense"),
    )
}
"""Licences that SPDX (https://spdx.org/licenses) and, in lower case, the Hugging Face hub call alike; others are told by their name."""


def bom(manifest: Manifest, report: Report, members: Mapping[str, Entry]) -> str:
    """Return the BOM of an archive with these other members as canonical JSON."""
    model = _model(manifest, report, members)
    libraries = [*_libraries(manifest)]
    serial = uuid5(SPACE, members["manifest.json"].sha256)
    components = [*_data(manifest), *_teachers(manifest), *libraries]
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": manifest.made_at,
            "tools": {"components": [{"type": "application", "name": "edgepress", "version": _edgepress(manifest)}]},
            "component": model,
        },
        "components": components,
        "dependencies": [{"ref": model["bom-ref"], "dependsOn": sorted(each["bom-ref"] for each in components)}],
    }
    return canonical_json(content) + "\n"


def hashes_in(content: Json) -> dict[str, str]:
    """Return the sha256 that a BOM gives each file of its archive, by name."""
    files = content["metadata"]["component"]["components"]
    return {str(file["name"]): str(file["hashes"][0]["content"]) for file in files}


def licence_id(licence: str) -> str | None:
    """Return how SPDX spells a licence; None where it isn't one that is known here."""
    return SPDX.get(licence.lower())


def _model(manifest: Manifest, report: Report, members: Mapping[str, Entry]) -> Json:
    """Return the model itself: its card, its ancestors, and each file of the archive with its hash."""
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "version": members["manifest.json"].sha256[:12],
        "description": f"compressed by edgepress for {manifest.target}",
        **_licences(manifest.provenance.get("licence")),
        "pedigree": {
            "notes": f"teachers: {', '.join(sorted(manifest.teachers)) or 'none'}; stages: {_stages(manifest)}"
        },
        "modelCard": _card(manifest, report),
        "components": [_file(name, members[name]) for name in sorted(members)],
        "properties": _properties({"recipe": manifest.name, "target": manifest.target, "seed": str(manifest.seed)}),
    }


def _card(manifest: Manifest, report: Report) -> Json:
    metrics = [*_scores(manifest, report), *_latencies(report)]
    limits = [
        f"{each.budget}: {each.outcome.replace('_', ' ')}, {each.why}"
        for each in report.verdicts
        if each.outcome != "kept"
    ]
    gate = report.fidelity
    if gate is not None and not gate.passed:
        limits += [f"fidelity: {why}" for why in gate.why_failed]
    return {
        "modelParameters": {"datasets": [{"ref": f"data:{split}"} for split in manifest.samples]},
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        **({"considerations": {"technicalLimitations": limits}} if limits else {}),
    }


def _scores(manifest: Manifest, report: Report) -> Iterator[Json]:
    titles = {origin.row for origin in manifest.artifacts.values()} | {report.reference}
    for row in report.rows:
        if row.stage in titles:
            yield _metric(report.metric.name, row.score, f"{row.stage}, test split, 95 % interval")


def _latencies(report: Report) -> Iterator[Json]:
    for each in report.measurements:
        if each.valid and each.quantity == "latency":
            threads = f"{each.threads} thread{'s' * (each.threads > 1)}"
            value = Interval(value=each.value, low=each.low, high=each.high)
            place = f"{each.model} on {each.device}, {each.runtime}, {threads}: {each.label}"
            yield _metric(f"median latency, {each.unit}", value, place)


def _metric(name: str, value: Interval, piece: str) -> Json:
    bounds = {"lowerBound": f"{value.low:.6g}", "upperBound": f"{value.high:.6g}"}
    return {"type": name, "value": f"{value.value:.6g}", "slice": piece, "confidenceInterval": bounds}


def _file(name: str, entry: Entry) -> Json:
    media_type = MEDIA_TYPES.get(PurePath(name).suffix, "application/octet-stream")
    return {
        "type": "file",
        "bom-ref": f"file:{name}",
        "name": name,
        "mime-type": media_type,
        "hashes": [{"alg": "SHA-256", "content": entry.sha256}],
        "properties": _properties({"size_bytes": str(entry.size_bytes)}),
    }


def _data(manifest: Manifest) -> Iterator[Json]:
    """Give each split as a dataset, known by the fingerprint of what it holds."""
    for split, count in manifest.samples.items():
        facts = {"fingerprint_sha256": manifest.task[f"data.{split}"], "samples": str(count)}
        yield {
            "type": "data",
            "bom-ref": f"data:{split}",
            "name": f"{manifest.name}, {split} split",
            "description": manifest.provenance.get("data", NOT_STATED),
            **_licences(manifest.provenance.get("data_licence")),
            "data": [{"type": "dataset", "name": split, "contents": {"properties": _properties(facts)}}],
        }


def _teachers(manifest: Manifest) -> Iterator[Json]:
    for name, digest in sorted(manifest.teachers.items()):
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"teacher:{name}",
            "name": name,
            "description": manifest.provenance.get("teacher", NOT_STATED),
            **_licences(manifest.provenance.get("teacher_licence")),
            "scope": "excluded",
            "properties": _properties({"artifact_sha256": digest}),
        }


def _libraries(manifest: Manifest) -> Iterator[Json]:
    """Give what made the model; "excluded" is CycloneDX's word for what isn't there at run time."""
    for name in sorted(manifest.environment.distributions, key=canonicalize_name):
        plain, version = canonicalize_name(name), manifest.environment.distributions[name]
        # edgepress comes from its own source: a purl of an index would name somebody else's.
        purl = f"pkg:{'generic' if plain == 'edgepress' else 'pypi'}/{plain}@{quote(version, safe='.-~_')}"
        yield {
            "type": "library",
            "bom-ref": f"library:{plain}",
            "name": name,
            "version": version,
            "purl": purl,
            "scope": "excluded",
        }


def _licences(licence: str | None) -> Json:
    known = licence_id(licence) if licence else None
    return {"licenses": [{"license": {"id": known} if known else {"name": licence or NOT_STATED}}]}


def _properties(facts: Mapping[str, str]) -> list[Json]:
    return [{"name": f"edgepress:{name}", "value": value} for name, value in facts.items()]


def _stages(manifest: Manifest) -> str:
    return ", ".join(manifest.recipe["stages"])


def _edgepress(manifest: Manifest) -> str:
    return manifest.toolchain.get("edgepress", "not known")
