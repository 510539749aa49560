"""The trainings of the digits recipe on a GPU: are they as good as the processor's, the same each time, and how long do they take?

`run` wants a machine with CUDA and writes all that it found to `--out`; it ends with 1 where something didn't hold. `table` prints the
README's figures. The other words are what `run` starts in processes of their own.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.architecture import load_network
from pipeline.artifact import Artifact, open_artifact
from pipeline.batches import predict
from pipeline.task import LoadedTask
from tests.evidence.cuda.chain import again, chain, digits, killed, start
from tests.evidence.cuda.epochs import epoch_seconds
from tests.evidence.cuda.variants import PRECISIONS, variants

RESULTS = Path(__file__).with_name("results.json")
SEEDS = (0, 1, 2)
KILLS = (3, 30, 25)
"""Steps after which the child is killed each time: before the first checkpoint, after it, and after it went on."""
TRAININGS = ("distill", "prune", "quantize")


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "chain", "again", "variants"))
    parser.add_argument("--accelerator", default="cuda")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--stage", default="distill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the recipe's epochs")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "cuda_study")
    parser.add_argument("--folder", type=Path, help="of a chain, or of one training")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    settings = {"accelerator": asked.accelerator, "precision": asked.precision}
    if asked.what == "table":
        print(table(results()))
    elif asked.what == "chain":
        print(json.dumps(chain(asked.seed, settings, asked.folder, share=asked.share)))
    elif asked.what == "again":
        print(again(asked.stage, settings, asked.folder, asked.work / f"{asked.accelerator}-0", share=asked.share))
    elif asked.what == "variants":
        print(json.dumps(variants(asked.accelerator, asked.folder)))
    else:
        for found in study(asked.accelerator, asked.work, share=asked.share):
            asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        sys.exit(1 if (broken := faults(found)) and print("\n".join(broken)) is None else 0)


def results() -> dict[str, Any]:
    """Return what was found."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def study(accelerator: str, work: Path, *, share: float) -> Iterator[dict[str, Any]]:
    """Give what is known of an accelerator here so far, until it is all."""
    if accelerator == "cuda" and not torch.cuda.is_available():
        sys.exit("this study needs a machine with CUDA: torch.cuda.is_available() is false here")
    found: dict[str, Any] = {"machine": _machine(accelerator), "share_of_epochs": share}
    others = start("variants", "--accelerator", accelerator, "--folder", str(work / "variants"))
    found["chains"] = chains(accelerator, work, share=share)
    yield found
    found["loaded"] = {
        name: loaded(open_artifact(work / f"{accelerator}-0" / name / "out"), accelerator)
        for name in ("teach", *TRAININGS)
    }
    found["variants"] = json.loads(others.communicate()[0].splitlines()[-1])
    found["resumed"] = resumed(accelerator, work, share=share)
    yield found
    for name, seconds in epoch_seconds(accelerator):
        found.setdefault("epoch_seconds", {})[name] = seconds
        yield found


def chains(accelerator: str, work: Path, *, share: float) -> list[dict[str, Any]]:
    """Run the recipe on both, under each seed, and on the accelerator once more under the first; side by side."""
    wanted = [(where, seed, f"{where}-{seed}") for where in ("cpu", accelerator) for seed in SEEDS]
    wanted.append((accelerator, SEEDS[0], "again"))
    runs = [
        start("chain", "--accelerator", a, "--seed", str(seed), "--share", str(share), "--folder", str(work / name))
        for a, seed, name in wanted
    ]
    found = []
    for (where, seed, name), run in zip(wanted, runs, strict=True):
        said = run.communicate()[0].splitlines()
        assert run.returncode == 0, f"{name} ended with {run.returncode}"
        test = score_of(open_artifact(work / name / "quantize" / "out"), digits(seed))
        found.append({"accelerator": where, "seed": seed, "stages": json.loads(said[-1]), "test_score": test})
        print(json.dumps(found[-1]), flush=True)
    return found


def resumed(accelerator: str, work: Path, *, share: float) -> list[dict[str, Any]]:
    """Kill trainings three times, go on, and hold the digest against that of one in peace; at each precision."""
    ways = [(precision, stage) for precision in ("32-true", *PRECISIONS) for stage in TRAININGS]
    with ThreadPoolExecutor(len(ways)) as side_by_side:
        return list(side_by_side.map(lambda way: _resumed(way[0], way[1], accelerator, work, share), ways))


def _resumed(precision: str, stage: str, accelerator: str, work: Path, share: float) -> dict[str, Any]:
    options = ["--accelerator", accelerator, "--precision", precision, "--stage", stage]
    options += ["--share", str(share), "--work", str(work)]
    folders = [work / f"{what}-{precision}" for what in ("peace", "killed")]
    peace = start("again", *options, "--folder", str(folders[0]))
    count = killed(KILLS, *options, "--folder", str(folders[1]))
    last = start("again", *options, "--folder", str(folders[1]))
    digests = [run.communicate()[0].splitlines()[-1:] for run in (peace, last)]
    assert (peace.returncode, last.returncode) == (0, 0), f"{stage} at {precision}"
    score = open_artifact(folders[1] / stage / "out").facts["validation_score"]
    found = {"precision": precision, "stage": stage, "kills": count, "validation_score": score}
    found |= {"equal": digests[0] == digests[1], "digest": digests[1][0]}
    print(json.dumps(found), flush=True)
    return found


def loaded(artifact: Artifact, accelerator: str) -> dict[str, Any]:
    """Compare what a saved network answers on the test split, on the processor and on the accelerator."""
    task = digits(0)
    network = network_of(artifact, task)
    here = torch.as_tensor(predict(network, task, "test"))
    there = torch.as_tensor(predict(network.to(accelerator), task, "test"))
    return {
        "largest_output": float(here.abs().max()),
        "largest_difference": float((here - there).abs().max()),
        "equal_outputs": float((here == there).float().mean()),
        "same_class": float((here.argmax(1) == there.argmax(1)).float().mean()),
        "scores": [task.score(each.numpy(), task.targets("test")) for each in (here, there)],
    }


def network_of(artifact: Artifact, task: LoadedTask) -> nn.Module:
    """Return an artifact as something to call: float, or rounding as its files will."""
    network = load_network(artifact, task)
    if artifact.kind != "quantized":
        return network
    from pipeline.quantization.freeze import load_quantized

    return load_quantized(artifact.path, network, task.example())


def score_of(artifact: Artifact, task: LoadedTask) -> float:
    """Return the test score, computed on the processor."""
    return task.score(predict(network_of(artifact, task), task, "test"), task.targets("test"))


def faults(found: Mapping[str, Any]) -> list[str]:
    """Return what didn't hold; empty where all did."""
    lines = [f"{name}: {told}" for name, told in found["variants"].items() if told.startswith("BROKE")]
    lines += [
        f"killed {each['stage']} at {each['precision']} differs" for each in found["resumed"] if not each["equal"]
    ]
    once, twice = (
        {name: stage["digest"] for name, stage in run["stages"].items()}
        for run in (found["chains"][3], found["chains"][6])
    )
    return lines + [f"{name} differs when made again" for name in once if once[name] != twice[name]]


def table(found: Mapping[str, Any]) -> str:
    """Return the README's two tables."""
    lines = ["| network | " + " | ".join(ways := list(next(iter(found["epoch_seconds"].values())))) + " | ratio |"]
    lines += ["|---|" + "---|" * (len(ways) + 1)]
    for name, seconds in found["epoch_seconds"].items():
        shown = [f"{seconds[way]:.2f} s" if way in seconds else "" for way in ways]
        lines.append(f"| {name} | {' | '.join(shown)} | {ratio(seconds):.2f} |")
    lines += ["", "| trained on | test accuracy of the quantised network, seeds 0, 1, 2 |", "|---|---|"]
    lines += [
        f"| {where} | {', '.join(f'{score:.4f}' for score in scores(found, where))} |" for where in ("cpu", "cuda")
    ]
    return "\n".join(lines)


def ratio(seconds: Mapping[str, float]) -> float:
    """Return the processor's best time for an epoch over the GPU's, both in float32: above 1 the GPU is faster."""
    return min(value for way, value in seconds.items() if way.startswith("cpu")) / seconds["cuda, 32-true"]


def scores(found: Mapping[str, Any], where: str) -> list[float]:
    """Return the chains' test scores by seed."""
    return [run["test_score"] for run in found["chains"][:6] if run["accelerator"] == where]


def _machine(accelerator: str) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if accelerator == "cuda" else accelerator
    return {"device": device, "torch": torch.__version__, "python": platform.python_version(), "cores": _cores()}


def _cores() -> int:
    import os

    return os.cpu_count() or 1


if __name__ == "__main__":
    main()
