"""Apart: a stage that trains on several processes, each a worker of its own, started and watched from here.

Fabric would run the user's command again for each further process, which then waits for the store's lock that the first one holds. So the
engine keeps lock, draft and scratch, and starts `python -m pipeline.apart` once for each rank; what they say comes back through a pipe, a
line of JSON each. When one ends badly the others are killed; when we end, however, they end. Their temporary files lie in the scratch: what a kill
leaves there goes with it.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.artifact import Artifact, Facts, open_artifact
from pipeline.chosen import with_chosen
from pipeline.errors import EdgepressError, RecipeError, TrainingError
from pipeline.stage import Context, Progress, Stage, StageConfig, discover
from pipeline.task import LoadedTask
from pipeline.task_file import load_task

LAST_WORDS_SECONDS = 60
"""After Ctrl-C rank 0 still writes its checkpoint."""
TOLD = 300


def run_on_several(
    stage: Stage, inputs: Mapping[str, Artifact], config: StageConfig, context: Context, *, devices: int
) -> Facts:
    """Run a stage on `devices` processes and return its facts; files and checkpoints are where the context has them."""
    with tempfile.TemporaryDirectory(prefix="apart-", dir=context.scratch) as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps(_job(stage, inputs, config, context)), encoding="utf-8")
        with _ranks(job, devices, threads=getattr(config, "threads", 1)) as (ranks, told):
            try:
                _listen(ranks, told, context, Path(folder))
            except KeyboardInterrupt:
                with suppress(subprocess.TimeoutExpired):  # it heard the same Ctrl-C
                    ranks[0].wait(LAST_WORDS_SECONDS)
                raise
        facts: Facts = json.loads((Path(folder) / "facts.json").read_text(encoding="utf-8"))
        return facts


def _job(stage: Stage, inputs: Mapping[str, Artifact], config: StageConfig, context: Context) -> dict[str, Any]:
    task = context.task
    if task.origin is None:
        raise RecipeError(
            "devices = 2 and more needs a task that another process can load, and this one was given as an object; name it in a recipe"
        )
    return {
        "stage": stage.name,
        "config": config.model_dump(mode="json"),
        "inputs": {name: str(artifact.path.absolute()) for name, artifact in inputs.items()},
        "task": [task.origin[0], str(task.origin[1])],
        "task_seed": task.seed,
        "choice": task.choice,
        "seed": context.seed,
        "out": str(context.out.absolute()),
        "scratch": str(context.scratch.absolute()),
    }


@contextmanager
def _ranks(job: Path, devices: int, *, threads: int) -> Iterator[tuple[list[subprocess.Popen[bytes]], list[int]]]:
    """Start the processes and give them with the pipes that they speak through; at the end none is left."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(devices),
        "NODE_RANK": "0",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),  # names of this machine need not resolve
    }
    ranks: list[subprocess.Popen[bytes]] = []
    told: list[int] = []
    with ExitStack() as stack:
        for rank in range(devices):
            read, write = os.pipe()
            stack.callback(os.close, read)
            told.append(read)
            command = [sys.executable, "-P", "-m", "pipeline.apart", str(job), str(write)]
            with (job.parent / f"errors-{rank}").open("wb") as errors_file:
                environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                ranks.append(
                    subprocess.Popen(  # noqa: S603 - our own module
                        command, stdin=subprocess.PIPE, stderr=errors_file, env=environment, pass_fds=[write]
                    )
                )
            stack.callback(_end, ranks[-1])
            os.close(write)
        yield ranks, told


def _end(rank: subprocess.Popen[bytes]) -> None:
    rank.kill()
    rank.wait()
    assert rank.stdin is not None
    rank.stdin.close()


def _listen(ranks: Sequence[subprocess.Popen[bytes]], told: Sequence[int], context: Context, folder: Path) -> None:
    """Pass on what the ranks say until all have ended well; what one raises is raised here."""
    with selectors.DefaultSelector() as waiting:
        for rank, pipe in enumerate(told):
            waiting.register(pipe, selectors.EVENT_READ, (rank, bytearray()))
        while waiting.get_map():
            for key, _ in waiting.select():
                rank, heard = key.data
                content = os.read(key.fd, 2**16)
                heard += content
                while b"\n" in heard:
                    line, _, rest = bytes(heard).partition(b"\n")
                    heard[:] = rest
                    _take(json.loads(line), context)
                if not content:
                    waiting.unregister(key.fd)
                    if ranks[rank].wait() != 0:
                        raise TrainingError(_why(rank, ranks[rank].returncode, folder))


def _take(said: Mapping[str, Any], context: Context) -> None:
    if "error" in said:
        kind = getattr(errors, said["error"], TrainingError)
        raise kind(said["message"])
    context.progress(Progress(**said))


def _why(rank: int, code: int, folder: Path) -> str:
    lines = (folder / f"errors-{rank}").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"process {rank} of the training ended with {how}: {(lines or ['it said nothing'])[-1][:TOLD]}; run again: it continues from the last checkpoint"


def main(job_path: str, pipe: str) -> None:
    """Be one rank."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    rank = int(os.environ["LOCAL_RANK"])
    if rank:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # rank 0 saves; the engine ends the others
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    with os.fdopen(int(pipe), "w", encoding="utf-8", buffering=1) as told:
        try:
            facts = _run(job, told if rank == 0 else None)
        except EdgepressError as error:
            print(json.dumps({"error": type(error).__name__, "message": str(error)}), file=told)
            return
        if rank == 0:
            (Path(job_path).parent / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _run(job: Mapping[str, Any], told: Any) -> Facts:
    stage = discover()[job["stage"]]
    inputs = {name: open_artifact(Path(path)) for name, path in job["inputs"].items()}

    def say(progress: Progress) -> None:
        if told is not None:
            print(json.dumps(asdict(progress)), file=told)

    with tempfile.TemporaryDirectory(prefix="rank-", dir=job["scratch"]) as nowhere:
        context = Context(
            task=_task(job),
            seed=job["seed"],
            out=Path(job["out"] if told is not None else nowhere),
            scratch=Path(job["scratch"]),
            progress=say,
        )
        return stage.run(inputs, stage.config.model_validate_json(json.dumps(job["config"])), context)


def _task(job: Mapping[str, Any]) -> LoadedTask:
    reference, folder = job["task"]
    task = load_task(reference, relative_to=Path(folder), seed=job["task_seed"])
    return with_chosen(task, job["choice"]) if job["choice"] else task


def _end_with_parent() -> None:
    """End when the engine does: it holds the other end of our input, and never writes."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
