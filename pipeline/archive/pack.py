"""Pack: put what a run left for one target into one file that travels.

| member | what |
|---|---|
| `model.onnx`, `model.tflite`, `report.json`, `report.md`, `manifest.json`, and what the task sends along | as the run left them |
| `report.html` | the one beside them, else the run's, if it tells of this target alone (`page`) |
| `README.md` | the model card |
| `recipe.toml`, `environment.txt` | the recipe as run, with its settings; the exact versions that made it |
| `bom.cdx.json` | a CycloneDX ML-BOM |
| `index.json` | the sha256 of all of these; `index.json.sig` and `index.json.pub` where it is signed |

The same folder, page and key give the same bytes.
"""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.archive import signature
from pipeline.archive.bom import bom
from pipeline.archive.card import Edges, model_card
from pipeline.archive.consistency import contradictions, inconsistent, report_from
from pipeline.archive.form import MAX_ARCHIVE_BYTES, MAX_MEMBERS, NAME, emit
from pipeline.archive.manifest import Manifest, manifest_from
from pipeline.archive.page import PAGE, page_of, places_of
from pipeline.archive.reader import INDEX, PUBLIC_KEY, SIGNATURE, SUFFIX, entry_of, index_of
from pipeline.archive.words import recipe_toml, requirements
from pipeline.drafted import drafted
from pipeline.errors import ModelError
from pipeline.report.model import Report

MANIFEST, REPORT = "manifest.json", "report.json"


def pack(
    folder: Path, *, out: Path | None = None, key: Path | None = None, say: Callable[[str], None] | None = None
) -> Path:
    """Write the archive of a run's folder, signed where a key is given, and return its path; ModelError where the folder isn't as the run left it.

    `say` is told of a page that isn't packed.
    """
    members = _as_left(folder)
    manifest, report = manifest_from(members[MANIFEST]), report_from(members.get(REPORT, b""))
    if not manifest.artifacts:
        raise ModelError(
            f"the run in {folder} exported no model; put export last in the recipe's stages, and run it again"
        )
    members |= _page(folder, report, say)
    members["recipe.toml"] = recipe_toml(manifest.recipe).encode()
    members["environment.txt"] = requirements(manifest.environment).encode()
    _refuse(folder, contradictions(manifest, report, members))
    entries = index_of(members).members
    members["README.md"] = model_card(manifest, report, entries, _edges(folder, manifest)).encode()
    entries["README.md"] = entry_of(members["README.md"])
    members["bom.cdx.json"] = bom(manifest, report, entries).encode()
    _refuse(folder, inconsistent(members))
    members[INDEX] = index_of(members).to_bytes()
    if key is not None:
        members[SIGNATURE], public = signature.sign(members[INDEX], key)
        members[PUBLIC_KEY] = signature.to_pem(public)
    path = out or folder / f"{manifest.name}-{manifest.target}{SUFFIX}"
    _write(members, path)
    return path


def _refuse(folder: Path, found: tuple[str, ...]) -> None:
    if found:
        raise ModelError(f"{folder} can't be packed: {found[0]}; run the recipe again")


def _as_left(folder: Path) -> dict[str, bytes]:
    """Return the files of a run's folder that its manifest names."""
    if not (folder / MANIFEST).is_file():
        raise ModelError(
            f"no {MANIFEST} in {folder}; give the folder that a run left for one target, e.g. build/raspberry-pi-4"
        )
    content = _read(folder / MANIFEST)
    manifest = manifest_from(content)
    strange = [name for name in manifest.files if not NAME.fullmatch(name)]
    if strange:
        raise ModelError(f"{folder}: {MANIFEST} names {strange[0]!r:.80}, which is no plain file; run the recipe again")
    return {MANIFEST: content, **{name: _read(folder / name) for name in sorted(manifest.files)}}


def _page(folder: Path, report: Report, say: Callable[[str], None] | None) -> dict[str, bytes]:
    """Return the page of this target alone, if there is one."""
    places = places_of(folder)
    page = page_of(report, places)
    if page is not None:
        return {PAGE: page}
    others = [str(place) for place in places if place.is_file()]
    if others and say:
        say(
            f"{' and '.join(others)} {'is' if len(others) == 1 else 'are'} not of this run on {report.target} alone, so no page is packed; "
            f"{shlex.join(['edgepress', 'report', str(folder)])} writes one"
        )
    return {}


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_ARCHIVE_BYTES:
            raise ModelError(f"{path} is larger than an archive may be, {MAX_ARCHIVE_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"can't read {path} ({error.strerror}); run the recipe again") from error


def _edges(folder: Path, manifest: Manifest) -> Edges:
    from pipeline.checks.graph import read_graph  # noqa: PLC0415 - onnx, which no other verb on an archive needs

    graphs = {name: read_graph(folder / name) for name in manifest.artifacts}
    return {
        name: {
            way: [f"{each} {graph.tensors[each].dtype} {_shape(graph.tensors[each].shape)}" for each in names]
            for way, names in (("inputs", graph.inputs), ("outputs", graph.outputs))
        }
        for name, graph in graphs.items()
    }


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else "x".join("?" if size is None else str(size) for size in shape)


def _write(members: Mapping[str, bytes], path: Path) -> None:
    total = sum(map(len, members.values()))
    if len(members) > MAX_MEMBERS or total > MAX_ARCHIVE_BYTES - 2**20:
        raise ModelError(
            f"{len(members)} files of {total / 2**20:.0f} MiB don't go into an archive; it takes {MAX_MEMBERS} of {MAX_ARCHIVE_BYTES // 2**20} MiB"
        )
    with drafted(path.parent, (path.name,)) as draft:
        (draft / path.name).write_bytes(emit(members))
