"""Instances: which flows run, where and how, what is wanted of them, and which have died."""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from pydantic import ValidationError

from rms_flows.errors import BusyError, ConflictError, DocumentError, MissingError, RmsError
from rms_flows.model import OrchestratorInstance
from rms_flows.registry.registry import Registry
from rms_flows.version import __version__

BEAT: Final = 3.0
"""Seconds between two signs of life, and between two looks at what is wanted."""

DEADLINE: Final = 30.0
"""Seconds without one after which an instance is lost; clocks of machines may differ by some of them."""

Door = Literal["stream", "replay"]
Turn = Literal["RUNNING", "STOPPED", "FAILED"]
State = Literal["STARTING", "RUNNING", "STOPPED", "FAILED", "LOST"]


@dataclass(frozen=True, slots=True)
class Sign:
    """What an instance says of itself now and then.

    Args:
        told: For people, such as `12,345 events, 4,980/s, 31 reports`.
        counts: For machines: `events`, `late`, `reports`, `appended`, `dead_letters`.
        at: When.
        space: Which processes the pid is one of: another container counts its own.
        run: That of `OrchestratorInstance.run`.
    """

    told: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    space: str = ""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """An instance as it is now.

    Args:
        instance: The document.
        sign: The last that it gave; None where it gave none.
        state: Its state, or LOST where it says no more that it lives.
    """

    instance: OrchestratorInstance
    sign: Sign | None
    state: State

    @property
    def alive(self) -> bool:
        """Whether a program runs it."""
        return self.state in {"STARTING", "RUNNING"}

    def plain(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        sign = None if self.sign is None else {"at": self.sign.at.isoformat(), **_said(self.sign)}
        return {
            **self.instance.model_dump(mode="json", exclude_none=True, exclude={"run"}),
            "state": self.state,
            **({} if sign is None else {"lastSign": sign}),
        }


def _said(sign: Sign) -> dict[str, Any]:
    return {"told": sign.told, "counts": dict(sign.counts)}


def instances(registry: Registry, now: datetime | None = None) -> list[Shown]:
    """Give all instances that a registry knows, by id; `now` is the clock's time unless told."""
    found = registry.all(OrchestratorInstance)
    signs = registry.beats(one.id for one in found)
    return [_shown(one, signs.get(one.id), now or datetime.now(UTC)) for one in found]


def instance(registry: Registry, name: str, now: datetime | None = None) -> Shown:
    """Give one instance; raises MissingError where none is called so."""
    found = registry.read(OrchestratorInstance, name)
    return _shown(found, registry.beats([name]).get(name), now or datetime.now(UTC))


def _shown(found: OrchestratorInstance, data: bytes | None, now: datetime) -> Shown:
    sign = None if data is None else _sign(data)
    if sign is not None and sign.run != found.run:
        sign = None  # of another start
    if found.state not in {"STARTING", "RUNNING"}:
        return Shown(found, sign, found.state)
    last = found.since if sign is None else max(sign.at, found.since)
    lost = now - last > timedelta(seconds=DEADLINE) or _gone(found, sign)
    return Shown(found, sign, "LOST" if lost else found.state)


def _gone(found: OrchestratorInstance, sign: Sign | None) -> bool:
    """Tell whether it ran among the processes of this machine or container, and does no more."""
    if sign is None or sign.space != _space():
        return False
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _space() -> str:
    """Name this boot of this machine, and the container where there is one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  it is no path
    except OSError:
        return ""


def _sign(data: bytes) -> Sign | None:
    try:
        said = json.loads(data)
        return Sign(
            said["told"], said["counts"], datetime.fromisoformat(said["at"]), said["space"], said["run"]
        )
    except (ValueError, KeyError, TypeError):
        return None  # it was written by hand, or by another version


def wish_to_stop(registry: Registry, name: str) -> Shown:
    """Have an instance stop, wherever it runs, when it looks next.

    Raises:
        MissingError: None is called so.
        DocumentError: It doesn't run.
    """
    found = instance(registry, name)
    if not found.alive:
        raise DocumentError(
            f"the instance {name!r} is {found.state} and can't be stopped"
            + (f" ({found.instance.reason})" if found.instance.reason else ""),
            remedy="rms engine list shows what runs",
        )
    registry.change(OrchestratorInstance, name, lambda one: one.model_copy(update={"wanted": "STOPPED"}))
    return found


class Running:
    """What this process tells the registry of the flow that it runs.

    Args:
        registry: Keeps the instance.
        name: Id of the instance.
        stop: Called from another thread when it is to stop.
        say: Called with what a person should know.

    Its `sign` is what it says of itself next.
    """

    def __init__(
        self, registry: Registry, name: str, stop: Callable[[], None], say: Callable[[str], None]
    ) -> None:
        self._registry = registry
        self._name = name
        self._stop = stop
        self._say = say
        self.sign = Sign("starting")
        self._run = uuid4().hex
        self._over = threading.Event()
        self._wished = False
        self._silent = False

    @contextmanager
    def of(self, orchestrator: str, door: Door, engine: str) -> Iterator[None]:
        """Surround a run of an orchestrator: it is STARTING, then what `running` says, and what it ends as.

        Raises:
            BusyError: Another process runs it.
            DocumentError: The registry can't be used.
        """
        self._begin(self._made(orchestrator, door, engine))
        self._beat()
        thread = threading.Thread(target=self._live, daemon=True, name="rms-life")
        thread.start()
        state: Turn = "STOPPED"
        reason: str | None = None
        try:
            yield
            reason = "as wanted" if self._wished else None
        except KeyboardInterrupt:
            reason = "as wanted" if self._wished else "interrupted"
            raise
        except BaseException as error:
            state, reason = "FAILED", str(error) if isinstance(error, RmsError) else repr(error)
            raise
        finally:
            self._over.set()
            thread.join()
            self._quietly(lambda: self._turn(state, reason))

    def running(self) -> None:
        """Tell that it runs now."""
        self._quietly(lambda: self._turn("RUNNING", None))

    def _made(self, orchestrator: str, door: Door, engine: str) -> OrchestratorInstance:
        try:
            return OrchestratorInstance(
                id=self._name,
                orchestratorReferenceID=orchestrator,
                state="STARTING",
                since=datetime.now(UTC),
                door=door,
                engine=engine,
                version=__version__,
                host=platform.node() or "unknown",
                pid=os.getpid(),
                run=self._run,
            )
        except ValidationError:
            raise DocumentError(
                f"no instance can be called {self._name!r}",
                remedy="choose a name of letters, digits, . _ and - with --instance",
            ) from None

    def _begin(self, made: OrchestratorInstance) -> None:
        try:
            before = instance(self._registry, self._name)
        except MissingError:
            self._created(made)
            return
        if before.alive:
            raise BusyError(
                f"the instance {self._name!r} runs already, as process {before.instance.pid} of "
                f"{before.instance.host}",
                remedy=f"stop it with rms engine stop {self._name}, or choose another --instance",
            )

        def begun(there: OrchestratorInstance) -> OrchestratorInstance:
            if there.run != before.instance.run:
                raise self._together()
            return made

        self._registry.change(OrchestratorInstance, self._name, begun)

    def _created(self, made: OrchestratorInstance) -> None:
        try:
            self._registry.create(made)
        except ConflictError:
            raise self._together() from None

    def _together(self) -> BusyError:
        return BusyError(
            f"the instance {self._name!r} was started by another process at the same time",
            remedy="rms engine list shows what runs",
        )

    def _turn(self, state: Turn, reason: str | None) -> None:
        def turned(there: OrchestratorInstance) -> OrchestratorInstance:
            if there.run != self._run:  # another start took it over while this one seemed dead
                return there
            self._beat()
            return there.model_copy(update={"state": state, "since": datetime.now(UTC), "reason": reason})

        self._registry.change(OrchestratorInstance, self._name, turned)

    def _live(self) -> None:
        while not self._over.wait(BEAT):
            self._quietly(self._live_once)

    def _live_once(self) -> None:
        there = self._registry.read(OrchestratorInstance, self._name)
        ours = there.run == self._run
        if ours:
            self._beat()
        if self._wished or (ours and there.wanted == "RUNNING"):
            return
        self._wished = True
        if not ours:
            self._say(f"another process of {there.host} runs the instance {self._name!r} now")
        self._stop()

    def _beat(self) -> None:
        said = {**_said(self.sign), "at": datetime.now(UTC).isoformat(), "space": _space(), "run": self._run}
        self._registry.beat(self._name, json.dumps(said).encode())

    def _quietly(self, tell: Callable[[], None]) -> None:
        """Tell the registry something; a flow goes on where that is away, and says so once."""
        try:
            tell()
            self._silent = False
        except RmsError as error:
            if not self._silent:
                self._say(f"the registry is not told how the flow is: {error}")
            self._silent = True
