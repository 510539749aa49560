"""Workers: who does the jobs of a search or a run: this process one after the other, or Ray's on this machine or a cluster.

A job is a module's function and plain arguments. What it gives follows from those alone, and what it makes on the way lies in the store: so who does
it, when, and how often after a crash, changes nothing. A job of a worker that dies is done again by another, and finds in the store what the
first had finished.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.errors import EdgepressError, MissingExtraError, RecipeError, WorkerError

T = TypeVar("T")

RETRIES = 3
"""So often a job is given to another worker when its own dies; a job that kills four is to blame itself."""
KNOCK_SECONDS = 5
SETTLED = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""Ray reports its use to its makers unless told otherwise, and waits for ever for a first worker that was killed while it started."""
PASSED_ON = ("EDGEPRESS_CACHE", "EDGEPRESS_LEASES", "EDGEPRESS_SHARED", "EDGEPRESS_STORE")


class Workers(Protocol):
    """Who does jobs."""

    @property
    def count(self) -> int:
        """How many jobs are done at once."""

    @property
    def on_this_machine(self) -> bool:
        """Whether all of them are done here."""

    def each(self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Give each job's result in the order of the jobs, whichever ends first; what one raises is raised in its turn."""


class Here:
    """This process, one job after the other."""

    count, on_this_machine = 1, True

    def each(self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Do the jobs in turn."""
        return (function(*job) for job in jobs)


class OnRay:
    """Ray's workers, a core each."""

    def __init__(self, ray: Any, count: int, *, on_this_machine: bool) -> None:
        self.ray, self.count, self.on_this_machine = ray, count, on_this_machine

    def each(self, function: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        """Hand out all jobs at once."""
        remote = self.ray.remote(num_cpus=1, max_retries=RETRIES)(function)
        for job in [remote.remote(*job) for job in jobs]:
            yield self._result(job)

    def _result(self, job: Any) -> Any:
        try:
            return self.ray.get(job)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, EdgepressError):
                raise error.cause from None
            raise
        except self.ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())[:200]
            raise WorkerError(
                f"{RETRIES + 1} workers died of one job ({reason}); look for too little memory, or take fewer --workers; what is finished is kept"
            ) from error


@contextmanager
def workers(count: int, cluster: str) -> Iterator[Workers]:
    """Give `count` workers of this machine, or those of the Ray cluster at an address; one without a cluster is this process."""
    _check(count, cluster)
    if count == 1 and not cluster:
        yield Here()
        return
    ray = _ray()
    given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    settings: dict[str, Any] = {"address": cluster} if cluster else {"num_cpus": count, "include_dashboard": False}
    if cluster:
        _knock(cluster)
    environment = {**given, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path[1:]]), "OMP_NUM_THREADS": "1"}
    try:
        ray.init(**settings, runtime_env={"env_vars": environment}, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray has no class for most: "The current node timed out during startup"
        reason = " ".join(str(error).split())[:200]
        remedy = "it must be the same version on both sides" if cluster else "run again: what is finished is kept"
        raise WorkerError(f"Ray can't be used at {cluster or 'this machine'} ({reason}); {remedy}") from error
    try:
        yield OnRay(ray, int(ray.cluster_resources().get("CPU", 1)), on_this_machine=not cluster)
    finally:
        ray.shutdown()


def _knock(cluster: str) -> None:
    """See that something listens there: Ray itself waits for minutes."""
    host, _, port = cluster.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise WorkerError(
            f"no Ray cluster answers at {cluster!r:.80} ({error}); start one: ray start --head --port 6379, and give its address as HOST:PORT"
        ) from error


def _check(count: int, cluster: str) -> None:
    """Refuse what can't be meant."""
    if count < 1:
        raise RecipeError(f"--workers {count} is none; give 1 or more")
    if cluster and count > 1:
        raise RecipeError(
            f"--workers {count} and --cluster {cluster}: a cluster has the workers that it has; give one of the two"
        )


def _ray() -> Any:
    os.environ.update(SETTLED)
    try:
        import ray  # noqa: PLC0415 - a second, and only several workers need it
        import ray.exceptions  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "several workers need ray, which isn't installed; pip install 'edgepress[scale]'"
        ) from error
    return ray
