"""Documents that are kept, found and referred to; each version of them with the time in which it held."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from uuid import uuid4

import yaml

from rms_flows.errors import ConflictError, DocumentError, MissingError, OvertakenError
from rms_flows.model import Document, parse
from rms_flows.model.documents import ProcessorOrchestrator
from rms_flows.model.times import EPOCH, micros
from rms_flows.registry.discover import check_example, fits
from rms_flows.registry.kinds import KINDS, REFERENCES, Named, identity, references
from rms_flows.registry.store import Store, Stored

_D = TypeVar("_D", bound=Document)
_T = TypeVar("_T")
_TRIES: Final = 100
_PAUSE: Final = 0.1
"""Seconds until another try, at most."""

_RANKS: Final = {kind: rank for rank, kind in enumerate(KINDS)}


def _now() -> int:
    return time.time_ns() // 1_000


class Registry:
    """The documents of a system: probes, processors, flows and the kinds of data between them.

    What a document refers to is there as long as the document is. Several programs may write at once.
    Nothing is forgotten: with `at`, all that reads shows what held at that time.

    Args:
        store: Keeps them, such as `FolderStore("registry")`.
        clock: Microseconds since 1970.

    Example:
        >>> import tempfile
        >>> from rms_flows.model.documents import DataKind
        >>> from rms_flows.registry import FolderStore, Registry
        >>> registry = Registry(FolderStore(tempfile.mkdtemp()))
        >>> registry.create(DataKind(id="load", name="CPU load", quantityKind="ratio"))
        'load'
        >>> [one.name for one in registry.discover(DataKind, {"quantityKind": "ratio"})]
        ['CPU load']
    """

    def __init__(self, store: Store, clock: Callable[[], int] = _now) -> None:
        self._store = store
        self._clock = clock

    def create(self, document: Document) -> str:
        """Keep a new document; give its id, which is made where it has none.

        Raises:
            DocumentError: There is one with this id, or it refers to what is not there.
        """
        if identity(document) is None:
            document = document.model_copy(update={"id": uuid4().hex})
        kind, name = _called(document)

        def create() -> None:
            if self._store.read(kind, name) is not None:
                raise ConflictError(
                    f"there is a {kind} {name!r} already", remedy="update it, or choose another id"
                )
            self._keep(document)

        self._alone(create)
        return name

    def update(self, document: Document) -> None:
        """Keep another version of a document; raises DocumentError as `create`, and where there is none."""

        def update() -> None:
            self._there(*_called(document))
            self._keep(document)

        self._alone(update)

    def change(self, kind: type[_D], name: str, change: Callable[[_D], _D]) -> _D:
        """Keep what a function makes of a document, which nobody else changes meanwhile; give that.

        Args:
            kind: Of the document.
            name: Its id.
            change: Document → document with the same id; may be called again where another one was first.

        Raises:
            DocumentError: As `create`, and where there is none.
        """

        def changed() -> _D:
            self._there(kind.__name__, name)
            made = change(self.read(kind, name))
            self._keep(made)
            return made

        return self._alone(changed)

    def apply(self, given: Iterable[Document]) -> list[tuple[str, str]]:
        """Create or update documents that may refer to each other; give kind and id of those that changed.

        Raises:
            DocumentError: One refers to what is not there; those that were kept before it stay.
        """
        changed = []
        for document in sorted(given, key=lambda one: _RANKS[type(one).__name__]):
            named = document
            if identity(document) is None:
                named = document.model_copy(update={"id": uuid4().hex})
            if self._alone(partial(self._applied, named)):
                changed.append(_called(named))
        return changed

    def _applied(self, document: Document) -> bool:
        before = self._store.read(*_called(document))
        if before is not None and parse(before.data, type(document), before.where) == document:
            return False
        self._keep(document)
        return True

    def delete(self, kind: type[Document], name: str) -> None:
        """Let a document hold no more.

        Raises:
            DocumentError: There is none, or another one refers to it.
        """

        def delete() -> None:
            self._there(kind.__name__, name)
            for other in KINDS.values():
                for document in self.all(other):
                    for named in references(document):
                        if self._meant(named) == (kind.__name__, name):
                            raise ConflictError(
                                f"the {kind.__name__} {name!r} is referred to by the "
                                f"{other.__name__} {identity(document)!r} ({named.place})",
                                remedy="change or delete that first",
                            )
            until = self._after(kind.__name__, name)
            self._store.remove(kind.__name__, name, until)

        self._alone(delete)

    def read(self, kind: type[_D], name: str, at: datetime | None = None) -> _D:
        """Give a document; raises DocumentError where there is none, or it is not what it has to be."""
        with self._store.view():
            found = self._version(kind.__name__, name, at)
            if found is None:
                raise _nowhere(kind.__name__, name, self._ids(kind.__name__, at), at)
        return _parsed(found, kind, name)

    def expanded(self, kind: type[Document], name: str, at: datetime | None = None) -> dict[str, Any]:
        """Give a document as JSON has it, with what it refers to embedded; raises DocumentError."""
        with self._store.view():
            return self._expanded(self.read(kind, name, at), at)

    def all(self, kind: type[_D], at: datetime | None = None) -> list[_D]:
        """Give all documents of a kind, by id; raises DocumentError where one is not what it has to be."""
        with self._store.view():
            found = [(name, self._version(kind.__name__, name, at)) for name in self._ids(kind.__name__, at)]
        # others write meanwhile: what was deleted since it was listed is not there
        return [_parsed(one, kind, name) for name, one in found if one is not None]

    def discover(self, kind: type[_D], example: Mapping[str, Any], at: datetime | None = None) -> list[_D]:
        """Give the documents that are as an example is, as far as this goes.

        Args:
            kind: What to look for.
            example: Fields that have to match, nested ones too, and what is embedded in an expanded read:
                `{"dataKind": {"quantityKind": "temperature"}}`. Of a list each element has to be there.
            at: The time at which they held.

        Raises:
            DocumentError: The example has a field that such documents don't have.
        """
        check_example(kind, example)
        with self._store.view():
            return [one for one in self.all(kind, at) if fits(example, self._expanded(one, at))]

    def history(self, kind: type[Document], name: str) -> Sequence[Stored]:
        """Give all versions of a document, the oldest first; raises DocumentError where it never was."""
        with self._store.view():
            now = self._store.read(kind.__name__, name)
            found = [*self._store.past(kind.__name__, name), *([] if now is None else [now])]
            if not found:
                raise _nowhere(kind.__name__, name, self._store.known(kind.__name__), None)
        return found

    def beat(self, name: str, data: bytes) -> None:
        """Keep the last sign of life of an instance: unlike a document it has no history."""
        self._store.beat(name, data)

    def beats(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Give the last signs of life of instances, of those that gave any."""
        return self._store.beats(names)

    def _alone(self, change: Callable[[], _T]) -> _T:
        """Change something while nobody else does; decide anew where another one was first."""
        for _ in range(_TRIES):
            with suppress(OvertakenError), self._store.lock():
                return change()
            time.sleep(_PAUSE * random.random())  # noqa: S311  it keeps nobody out
        raise OvertakenError(
            f"others changed the registry {_TRIES} times while this was tried", remedy="try it again"
        )

    def _keep(self, document: Document) -> None:
        kind, name = _called(document)
        for named in references(document):
            if self._meant(named) is None:
                raise DocumentError(
                    f"refers to {named.id!r}, and no {' or '.join(named.kinds)} is called so",
                    where=f"{kind} {name}: {named.place}",
                    remedy="create that first, or mend the id",
                )
        self._refuse_circle(document, (kind, name))
        self._store.write(kind, name, _yaml(_plain(document)), self._after(kind, name))

    def _refuse_circle(self, document: Document, start: tuple[str, str]) -> None:
        waiting, seen = [document], {start}
        while waiting:
            for named in references(waiting.pop()):
                meant = self._meant(named)
                if meant == start:
                    raise DocumentError(
                        f"refers to itself, by {named.place} of what it refers to",
                        where=" ".join(start),
                        remedy="no document may refer to itself, directly or by others",
                    )
                if meant is not None and meant not in seen:
                    seen.add(meant)
                    waiting.append(self.read(KINDS[meant[0]], meant[1]))

    def _meant(self, named: Named, at: datetime | None = None) -> tuple[str, str] | None:
        kinds = (kind for kind in named.kinds if self._version(kind, named.id, at) is not None)
        found = next(kinds, None)
        return None if found is None else (found, named.id)

    def _after(self, kind: str, name: str) -> int:
        """Give now, or what comes after the last change, whatever clocks say."""
        now = self._store.read(kind, name)
        last = [one.until for one in self._store.past(kind, name)] + [None if now is None else now.since]
        return max(self._clock(), *(0 if one is None else one + 1 for one in last))

    def _there(self, kind: str, name: str) -> None:
        if self._store.read(kind, name) is None:
            raise _nowhere(kind, name, self._store.ids(kind), None)

    def _version(self, kind: str, name: str, at: datetime | None) -> Stored | None:
        now = self._store.read(kind, name)
        if at is None:
            return now
        versions = [*self._store.past(kind, name), *([] if now is None else [now])]
        moment = micros(at)
        return next((one for one in versions if one.holds(moment)), None)

    def _ids(self, kind: str, at: datetime | None) -> Sequence[str]:
        if at is None:
            return self._store.ids(kind)
        return [name for name in self._store.known(kind) if self._version(kind, name, at) is not None]

    def _expanded(self, document: Document, at: datetime | None) -> dict[str, Any]:
        found = _plain(document)
        for reference in REFERENCES.get(type(document).__name__, ()):
            value = getattr(document, reference.field)
            several = isinstance(value, tuple)
            ids = value if several else () if value is None else (value,)
            embedded = []
            for one in ids:
                versions = ((kind, self._version(kind, one, at)) for kind in reference.kinds)
                kind, version = next((known for known in versions if known[1]), ("", None))
                if version is not None:  # at a time before it was kept it is not there
                    embedded.append(self._expanded(_parsed(version, KINDS[kind], one), at))
            if embedded:
                found[reference.embedded] = embedded if several else embedded[0]
        if isinstance(document, ProcessorOrchestrator):
            found["processors"] = [self._expanded(one, at) for one in document.processors]
        return found


def _called(document: Document) -> tuple[str, str]:
    return type(document).__name__, identity(document) or ""


def _parsed(found: Stored, kind: type[_D], name: str) -> _D:
    document = parse(found.data, kind, found.where)
    if identity(document) != name:  # files may be put there by hand
        raise DocumentError(
            f"the {kind.__name__} kept as {name!r} says that its id is {identity(document)!r}",
            where=found.where,
            remedy="make the file's name and the id the same",
        )
    return document


def _plain(document: Document) -> dict[str, Any]:
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def _yaml(content: dict[str, Any]) -> bytes:
    """Write for people, unless a character would be read as another: PyYAML folds U+0085 into a blank."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if yaml.safe_load(text) != content:
        text = yaml.safe_dump(content, sort_keys=False)
    return text.encode()


def _nowhere(kind: str, name: str, there: Iterable[str], at: datetime | None) -> MissingError:
    when = "" if at is None else f" at {EPOCH + timedelta(microseconds=micros(at)):%Y-%m-%dT%H:%M:%SZ}"
    known = [*there]
    listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")  # noqa: PLR2004  enough to choose from
    return MissingError(f"no {kind} is called {name!r}{when}", remedy=f"there are {listed or 'none'}")
