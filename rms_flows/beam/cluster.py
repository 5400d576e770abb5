"""Where a Flink is, and what its REST interface is asked for. Knows no Beam."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from math import inf
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from rms_flows.errors import BusyError, DocumentError, FlowError

SECONDS: Final = 10.0
"""In which a server has to answer."""

SHORTEST: Final = 0.01
"""Seconds between two checkpoints at least."""

READERS: Final = 64
"""Of a job at most."""

OVER: Final = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})
"""States that a job doesn't leave."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Flink cluster behind Beam's job server.

    Args:
        job_server: `HOST:PORT` of the job server.
        rest: URL of Flink's REST interface.
        workers: `HOST:PORT` of a pool of workers, as Flink's task managers reach it; None has the steps run
            in the process that starts the stream.
        checkpoint: Seconds between two checkpoints of a job; None asks for none.
        savepoint: Path of what a job begins from, a checkpoint or a savepoint, as Flink reaches it.
        parallelism: Readers, each in a process of its own.

    Raises:
        DocumentError: One of them is no such address.
    """

    job_server: str = "localhost:8099"
    rest: str = "http://localhost:8081"
    workers: str | None = None
    checkpoint: float | None = None
    savepoint: str | None = None
    parallelism: int = 1

    def __post_init__(self) -> None:
        if _port(f"//{self.job_server}") is None:
            raise DocumentError(
                "the address of a job server is HOST:PORT",
                where=self.job_server,
                remedy="write --job-server localhost:8099",
            )
        if self.workers is not None and _port(f"//{self.workers}") is None:
            raise DocumentError(
                "the address of a pool of workers is HOST:PORT",
                where=self.workers,
                remedy="write --workers external:localhost:50000, as Flink's task managers reach it",
            )
        if self.checkpoint is not None and not SHORTEST <= self.checkpoint < inf:
            raise DocumentError(
                "checkpoints are some seconds apart, a hundredth at least",
                where=str(self.checkpoint),
                remedy="write --checkpoint 2",
            )
        if not 1 <= self.parallelism <= READERS:
            raise DocumentError(
                f"a job has 1 to {READERS} readers",
                where=str(self.parallelism),
                remedy="write --parallelism 4",
            )
        if self.parallelism > 1 and self.workers is None:
            raise DocumentError(
                "several readers need processes of their own",
                where=f"{self.parallelism} readers",
                remedy="name a pool of workers with --workers external:HOST:PORT, or write --parallelism 1",
            )
        if self.parallelism > 1 and (self.checkpoint is not None or self.savepoint is not None):
            raise DocumentError(
                "several readers begin together, by the positions, and a checkpoint brings each back alone",
                where=f"{self.parallelism} readers",
                remedy="leave out --checkpoint and --savepoint, or write --parallelism 1",
            )
        if urlsplit(self.rest).scheme not in {"http", "https"} or not urlsplit(self.rest).hostname:
            raise DocumentError(
                "the address of Flink's REST interface is a URL of http or https",
                where=self.rest,
                remedy="write --flink-rest http://localhost:8081",
            )

    def check(self) -> None:
        """See whether both are there.

        Raises:
            FlowError: One of them is not, or is something else.
        """
        found = self._ask("GET", "/overview")
        if not isinstance(found, dict) or "flink-version" not in found:
            raise FlowError("this is no Flink", where=self.rest, remedy="name Flink's with --flink-rest")
        host, port = urlsplit(f"//{self.job_server}").hostname, _port(f"//{self.job_server}")
        try:
            socket.create_connection((host or "", port or 0), SECONDS).close()
        except OSError as error:
            raise FlowError(
                f"Beam's job server can't be reached ({error})",
                where=self.job_server,
                remedy="start it, or name it with --job-server HOST:PORT",
            ) from None

    def jobs(self, name: str) -> dict[str, str]:
        """Give the jobs of a name: Flink's id → state."""
        found = self._ask("GET", "/jobs/overview")["jobs"]
        return {one["jid"]: one["state"] for one in found if one["name"] == name}

    def running(self, name: str) -> float:
        """Give the seconds since all tasks of a job were deployed; 0 where one does not run."""
        tasks = self._tasks(name)
        seconds = (task["duration"] / 1_000 if task["status"] == "RUNNING" else 0.0 for task in tasks)
        return min(seconds, default=0.0)

    def waits(self, name: str, step: str) -> float:
        """Tell for how many seconds a step of a job has run without that anything came to it; else 0."""
        running = [task for task in self._tasks(name) if step in task["name"] and task["status"] == "RUNNING"]
        known = [one for one in running if one["metrics"]["read-records-complete"]]
        return max(
            (one["duration"] / 1_000 for one in known if not one["metrics"]["read-records"]), default=0.0
        )

    def _tasks(self, name: str) -> list[Any]:
        """Give what Flink tells of the tasks of jobs that are not over."""
        jobs = [job for job, state in self.jobs(name).items() if state not in OVER]
        return [task for job in jobs for task in self._ask("GET", f"/jobs/{job}")["vertices"]]

    def only(self, name: str) -> None:
        """See that no job of the same flow runs: they have all before the last dash in common.

        Raises:
            BusyError: One does.
        """
        flow = name.rpartition("-")[0]
        for one in self._ask("GET", "/jobs/overview")["jobs"]:
            if one["name"].rpartition("-")[0] == flow and one["state"] not in OVER:
                raise BusyError(
                    f"the job {one['jid']} of this flow is {one['state']}",
                    where=self.rest,
                    remedy="leave it be, or cancel it on Flink's page: what was committed stays",
                )

    def cancel(self, name: str, seconds: float = SECONDS) -> None:
        """End the jobs of a name, and wait until they are: Beam's own call leaves them running.

        Raises:
            FlowError: Flink can't be reached, or a job doesn't end in time.
        """
        end = time.monotonic() + seconds
        for job, state in self.jobs(name).items():
            if state not in OVER:
                self._ask("PATCH", f"/jobs/{job}?mode=cancel")
        while left := [job for job, state in self.jobs(name).items() if state not in OVER]:
            if time.monotonic() > end:
                raise FlowError(
                    f"the job {left[0]} doesn't end",
                    where=self.rest,
                    remedy="end it on Flink's page, before the stream is started again",
                )
            time.sleep(0.1)

    def _ask(self, method: str, path: str) -> Any:
        request = Request(self.rest.rstrip("/") + path, method=method)  # noqa: S310  the scheme was checked
        try:
            with urlopen(request, timeout=SECONDS) as answer:  # noqa: S310  the scheme was checked
                return json.loads(answer.read() or b"null")
        except (URLError, OSError, ValueError) as error:
            raise FlowError(
                f"Flink's REST interface doesn't answer as it should ({error})",
                where=self.rest,
                remedy="start Flink, or name it with --flink-rest URL",
            ) from None


def _port(address: str) -> int | None:
    """Read the port of `//HOST:PORT`; None where this is something else."""
    try:
        parts = urlsplit(address)
        return parts.port if parts.hostname and parts.netloc == address.removeprefix("//") else None
    except ValueError:
        return None
