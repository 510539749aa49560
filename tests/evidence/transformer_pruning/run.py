"""What a text network loses and keeps when heads, feed-forward numbers, words and a whole block leave it.

Two students of the task tweets, our own text encoder and torch's nn.TransformerEncoder, taught by MiniLM, then pruned under its supervision.
`run` adds a line for each form to `results.json`, skips what that holds; `table` prints the README's figures.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from devices import Request, open_device
from pipeline.architecture import load_network, macs_of, parameters_of
from pipeline.artifact import Artifact
from pipeline.batches import predict
from pipeline.file_networks import file_network
from pipeline.stages import distill, export_onnx, export_tflite, prune, quantize
from pipeline.task import LoadedTask
from pipeline.tasks import tweets
from pipeline.tasks.text_tokens import vocabulary_size
from targets import load_target
from tests.evidence.distillation.cases import CASES, SOFT, Case, ThreeReaders
from tests.evidence.distillation.run import commit, once, spoken

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
TARGET = "raspberry-pi-4"
LENGTHS = {"epochs": 8, "views": 2, "learning_rate": 2e-3}
HALF = {"keep_macs": 0.5, "channel_multiple": 8, **LENGTHS}
FORMS: Mapping[str, Mapping[str, Any] | None] = {
    "as taught": None,
    "half the heads and feed-forward": HALF,
    "... and the data's words": {**HALF, "trim_vocabulary": True},
    "... and one block of two": {**HALF, "trim_vocabulary": True, "drop_layers": 1},
}


class TorchEncoder(nn.Module):
    """Ids and mask [N, T] to logits [N, 2] through nn.TransformerEncoder as torch brings it."""

    def __init__(self, vocabulary: int, sizes: tweets.Sizes) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, sizes.width)
        self.places = nn.Parameter(0.02 * torch.randn(sizes.length, sizes.width))
        nn.init.normal_(self.words.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            sizes.width, sizes.heads, sizes.feed_forward, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers=sizes.depth, enable_nested_tensor=False)
        self.head = nn.Linear(sizes.width, 2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the logits; padding is hidden from attention and left out of the mean."""
        share = mask.to(self.places.dtype)
        x = self.encoder(self.words(ids) + self.places, src_key_padding_mask=mask == 0) * share[:, :, None]
        logits: Tensor = self.head(x.sum(1) / share.sum(1, keepdim=True).clamp_min(1))
        return logits


class TorchReaders(ThreeReaders):
    """The tweets with torch's own encoder as the student."""

    def student(self) -> nn.Module:
        """Return it, untrained."""
        return TorchEncoder(vocabulary_size(), self.sizes)


STUDENTS = {
    "text encoder": CASES["tweets"],
    "nn.TransformerEncoder": Case(
        TorchReaders(), "minilm", CASES["tweets"].teach, CASES["tweets"].student, CASES["tweets"].losses
    ),
}


def main() -> None:
    """Run what is asked for and not there yet, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "distillation_study")
    arguments = parser.parse_args()
    if arguments.what == "table":
        print(table(results()))
        return
    for student, case in STUDENTS.items():
        for form in FORMS:
            if (student, form) not in {(line["student"], line["form"]) for line in results()}:
                told = {
                    "student": student,
                    "form": form,
                    **line(student, case, form, arguments.work),
                    "commit": commit(),
                }
                RESULTS.write_text(json.dumps([*results(), told], indent=1) + "\n", encoding="utf-8")
                print(json.dumps(told), flush=True)


def results() -> list[dict[str, Any]]:
    """Return all lines so far."""
    lines: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    return lines


def line(student: str, case: Case, form: str, work: Path) -> dict[str, Any]:
    """Return what one form of one student is: sizes, score of torch and of both files, costs."""
    task = case.task()
    made = network_of(student, case, form, work)
    place = work / "pruned" / student.replace(" ", "-") / f"{list(FORMS).index(form)}"
    quantised = once(quantize.STAGE, task, place / "quantised", {"network": made}, scheme="dynamic_int8")
    forms = load_target(TARGET).formats
    files = {
        "onnx": once(export_onnx.STAGE, task, place / "onnx", {"model": quantised}, **forms.onnx.model_dump()),
        "tflite": once(export_tflite.STAGE, task, place / "tflite", {"model": quantised}, **forms.tflite.model_dump()),
    }
    network = load_network(made, task)
    found: dict[str, Any] = {
        "parameters": parameters_of(network),
        "macs": macs_of(network, task.example()),
        "score": _score(network, task),
        "rebuilt_equal": _rebuilt_equal(made, task),
    }
    for name, artifact in files.items():
        path = artifact.file(f"model.{name}")
        found[name] = {"bytes": path.stat().st_size, "score": _score(file_network(artifact), task), **_costs(path)}
    return found


def network_of(student: str, case: Case, form: str, work: Path) -> Artifact:
    """Return a student as MiniLM taught it, or pruned from that."""
    task, settings = case.task(), FORMS[form]
    given = spoken(case, task, case.single, work / "tweets")
    place = work / "pruned" / student.replace(" ", "-")
    taught = once(distill.STAGE, task, place / "taught", given, seed=0, **{**case.student, **SOFT})
    if settings is None:
        return taught
    where = place / f"{list(FORMS).index(form)}" / "pruned"
    return once(prune.STAGE, task, where, {"network": taught, **given}, seed=0, **settings, **SOFT)


def _score(network: Any, task: LoadedTask) -> float:
    return task.score(predict(network, task, "test"), task.targets("test"))


def _rebuilt_equal(made: Artifact, task: LoadedTask) -> bool:
    """Say whether two networks rebuilt from the artifact's safetensors answer alike, bit for bit."""
    one, other = (predict(load_network(made, task), task, "test") for _ in range(2))
    return bool(np.array_equal(one, other))


def _costs(path: Path) -> dict[str, Any]:
    """Return the host's latency, and what the emulated core counts; a board has no say here."""
    host = open_device("host").measure([path], Request())[0][0]
    counted = {each.quantity: each for each in open_device("qemu", load_target(TARGET)).measure([path], Request())[0]}
    return {
        "host_ms": [host.value / 1000, host.low / 1000, host.high / 1000],
        "host_valid": host.valid,
        "instructions": counted["instructions"].value,
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Return a line for each form: both files are dynamic-range int8."""
    rows = [
        "| student | form | parameters | MACs | ONNX, KB | TFLite, KB | accuracy torch, ONNX, TFLite, % | host, ms: ONNX, TFLite | Cortex-A72, M instructions: ONNX, TFLite |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in lines:
        onnx, tflite = each["onnx"], each["tflite"]
        scores = ", ".join(f"{100 * score:.2f}" for score in (each["score"], onnx["score"], tflite["score"]))
        host = ", ".join(
            f"{file['host_ms'][0]:.3f}{'' if file['host_valid'] else ' (disturbed)'}" for file in (onnx, tflite)
        )
        counts = ", ".join(f"{file['instructions'] / 1e6:.2f}" for file in (onnx, tflite))
        sizes = f"{onnx['bytes'] / 1e3:.0f} | {tflite['bytes'] / 1e3:.0f}"
        rows.append(
            f"| {each['student']} | {each['form']} | {each['parameters']:,} | {each['macs']:,} | {sizes} | {scores} | {host} | {counts} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
