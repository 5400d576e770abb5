"""What is to be told and was told, on disk: a file of SQLite, in which each step counts whole or not at all.

Reports that were seen, the plan's state and notifications change together, so that a kill between two steps
neither loses a report nor tells of it twice; a kill between a receiver's answer and the note of it makes us
tell again, under the same id.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from rms_flows.action.plan import Notification, State
from rms_flows.errors import BusyError, DocumentError

VERSION: Final = 1

_TABLES: Final = f"""
create table if not exists reports (id text primary key, time integer, revision integer, document blob);
create table if not exists notifications (
  receiver text, id text, due integer, grouped text, documents blob, state text, attempts integer, again real,
  said text, primary key (receiver, id));
create index if not exists waiting on notifications (state, receiver, again);
create table if not exists kept (name text primary key, value blob);
create table if not exists buried (id text primary key);
pragma user_version = {VERSION};
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification that waits.

    Args:
        id: See `Notification`.
        receiver: Id of who is told.
        due: By the time of events, microseconds.
        group: JSON text.
        documents: The reports, ECS documents, by time.
        attempts: How often it was tried.
    """

    id: str
    receiver: str
    due: int
    group: str
    documents: tuple[bytes, ...]
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A report that is to be kept until it is told of.

    Args:
        id: Its id.
        time: Microseconds.
        revision: Its revision.
        document: ECS.
    """

    id: str
    time: int
    revision: int
    document: bytes


class Outbox:
    """Keeps what is to be told until it was.

    Args:
        path: The file, made where it is not there; None keeps all in memory.
        name: Of the document of actions.

    Raises:
        BusyError: Another process uses it.
        DocumentError: It is none, of other actions, or can't be used.
    """

    def __init__(self, path: Path | None, name: str) -> None:
        self._where = str(path)
        with self._said():
            if path is not None:
                path.touch(mode=0o600, exist_ok=True)
            self._base = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0)
            self._base.execute("pragma locking_mode = exclusive")
            self._base.execute("pragma synchronous = full")
            with self._whole():
                self._begin(name)

    def _begin(self, name: str) -> None:
        [version] = self._base.execute("pragma user_version").fetchone()
        [others] = self._base.execute("select count(*) from sqlite_master").fetchone()
        if version != VERSION and (version or others):
            raise DocumentError(
                f"is no outbox of this version ({version or 'another program made it'})",
                where=self._where,
                remedy="name another with --state",
            )
        for statement in _TABLES.split(";"):
            self._base.execute(statement)
        known = self._kept("actions")
        if known is not None and known != name.encode():
            raise DocumentError(
                f"is the outbox of the actions {known.decode()!r}, not of {name!r}",
                where=self._where,
                remedy="name another with --state",
            )
        self._keep("actions", name.encode())

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turn what SQLite and the system say into our errors."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "locked" in str(error):
                raise BusyError(
                    "another process tells of what is in it", where=self._where, remedy="wait for its end"
                ) from None
            raise DocumentError(
                f"the outbox can't be used ({getattr(error, 'strerror', None) or error})",
                where=self._where,
                remedy="check path, rights and room on the disk, or name another with --state",
            ) from None

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Make all changes within, or none."""
        with self._said():
            self._base.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._base.execute("rollback")
                raise
            self._base.execute("commit")

    def _kept(self, name: str) -> bytes | None:
        found = self._base.execute("select value from kept where name = ?", (name,)).fetchone()
        return None if found is None else bytes(found[0])

    def _keep(self, name: str, value: bytes) -> None:
        self._base.execute("insert or replace into kept values (?, ?)", (name, value))

    def state(self) -> State | None:
        """Give the plan's state; None at the first start."""
        with self._said():
            found = self._kept("state")
        return None if found is None else msgspec.json.decode(found, type=State)

    @property
    def begin(self) -> int | None:
        """From where on reports count, microseconds; None before the first start."""
        with self._said():
            found = self._kept("begin")
        return None if found is None else int(found)

    def begun(self, begin: int) -> None:
        """Note at the first start from where on reports count."""
        with self._whole():
            self._keep("begin", str(begin).encode())

    def new(self, ids: Iterable[str]) -> set[str]:
        """Give the ids of reports that were not seen yet."""
        return self._unknown("reports", ids)

    def unburied(self, ids: Iterable[str]) -> set[str]:
        """Give the ids of records that are no dead letters yet."""
        return self._unknown("buried", ids)

    def _unknown(self, table: str, ids: Iterable[str]) -> set[str]:
        query = f"select 1 from {table} where id = ?"  # noqa: S608  our own names
        with self._said():
            return {name for name in ids if not self._base.execute(query, (name,)).fetchone()}

    def buried(self, ids: Iterable[str]) -> None:
        """Note which records are dead letters."""
        with self._whole():
            self._base.executemany("insert or ignore into buried values (?)", [(name,) for name in ids])

    def planned(
        self,
        state: State,
        fresh: Sequence[Known],
        notifications: Sequence[Notification],
        *,
        grown: Sequence[Known] = (),
        since: int,
        there: Collection[str] = (),
    ) -> int:
        """Keep a step of the plan: the reports that it took, what is to be told, and its state.

        Args:
            state: After it.
            fresh: Reports that were not seen before.
            notifications: What is due.
            grown: Reports that were, some of them of a higher revision now.
            since: Microseconds: reports before are forgotten.
            there: Ids of reports that still lie where they are read, so that they are known again.

        Returns:
            How many notifications are new.
        """
        with self._whole():
            self._base.executemany(
                "insert into reports values (?, ?, ?, ?)",
                [(one.id, one.time, one.revision, one.document) for one in fresh],
            )
            self._base.executemany(
                "update reports set revision = ?, document = ? "
                "where id = ? and revision < ? and document is not null",
                [(one.revision, one.document, one.id, one.revision) for one in grown],
            )
            before = self._base.total_changes
            for one in notifications:
                self._base.execute(
                    "insert or ignore into notifications values (?, ?, ?, ?, ?, 'waiting', 0, 0, null)",
                    (one.receiver, one.id, one.due, one.group, b"\n".join(self._documents(one.reports))),
                )
            new = self._base.total_changes - before
            self._forget(state, since, {*there})
            self._keep("state", msgspec.json.encode(state))
        return new

    def _documents(self, ids: Sequence[str]) -> Iterator[bytes]:
        for name in ids:
            [document] = self._base.execute("select document from reports where id = ?", (name,)).fetchone()
            yield bytes(document)

    def _forget(self, state: State, since: int, there: set[str]) -> None:
        """Forget the documents that no group waits for, and the ids that can't come again."""
        wanted = {one.id for group in state.groups.values() for one in group.waiting}
        held = self._base.execute("select id from reports where document is not null").fetchall()
        done = [(name,) for (name,) in held if name not in wanted]
        self._base.executemany("update reports set document = null where id = ?", done)
        old = "select id from reports where time < ? and document is null"
        gone = [(name,) for (name,) in self._base.execute(old, (since,)).fetchall() if name not in there]
        self._base.executemany("delete from reports where id = ?", gone)
        self._base.execute("delete from notifications where due < ? and state = 'sent'", (since,))

    def waiting(self, receiver: str, now: float) -> Letter | None:
        """Give what is to be tried next of what waits for a receiver.

        Args:
            receiver: Its id.
            now: Seconds since 1970: what is to be tried later is left.
        """
        with self._said():
            found = self._base.execute(
                "select id, receiver, due, grouped, documents, attempts from notifications "
                "where state = 'waiting' and receiver = ? and again <= ? "
                "order by again, attempts, due, id limit 1",
                (receiver, now),
            ).fetchone()
        if found is None:
            return None
        name, receiver, due, group, documents, attempts = found
        return Letter(name, receiver, due, group, tuple(bytes(documents).split(b"\n")), attempts)

    def told(self, letter: Letter, state: str, said: str = "", again: float = 0.0) -> None:
        """Note what became of a try: `sent`, `refused`, or `waiting` until `again`."""
        with self._whole():
            self._base.execute(
                "update notifications set state = ?, said = ?, attempts = attempts + 1, again = ?, "
                "documents = case when ? = 'sent' then x'' else documents end where receiver = ? and id = ?",
                (state, said, again, state, letter.receiver, letter.id),
            )

    def hurry(self) -> None:
        """Let all that waits be tried at once, what failed least often first."""
        with self._whole():
            self._base.execute("update notifications set again = 0 where state = 'waiting'")

    def retry(self) -> int:
        """Let what was refused wait again; give how many that are."""
        with self._whole():
            return self._base.execute(
                "update notifications set state = 'waiting', again = 0 where state = 'refused'"
            ).rowcount

    def count(self) -> Mapping[str, Mapping[str, int]]:
        """Count notifications: receiver → state → how many."""
        found: dict[str, dict[str, int]] = {}
        with self._said():
            for receiver, state, count in self._base.execute(
                "select receiver, state, count(*) from notifications group by receiver, state"
            ):
                found.setdefault(receiver, {})[state] = count
        return found

    def close(self) -> None:
        """Let another process use it."""
        self._base.close()
