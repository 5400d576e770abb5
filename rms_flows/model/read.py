"""Documents are read from YAML or JSON: safely, with errors that name file, line and the path inside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import yaml
from pydantic import ValidationError

from rms_flows.errors import DocumentError
from rms_flows.model.documents import Document
from rms_flows.model.orchestrator import Orchestrator

MAX_SIZE: Final = 1024 * 1024
"""Bytes of the longest document."""

MAX_DEPTH: Final = 64
"""Deepest nesting of a document."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_D = TypeVar("_D", bound=Document)


def load_orchestrator(path: Path) -> Orchestrator:
    """Read a flow; raises DocumentError."""
    return load(path, Orchestrator)


def load(path: Path, kind: type[_D]) -> _D:
    """Read one document of a kind.

    Raises:
        DocumentError: It can't be read, is no YAML, or not what it has to be; all of its faults are named.
    """
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_SIZE + 1)
    except OSError as error:
        raise DocumentError(
            f"can't be read ({error.strerror})", where=str(path), remedy="check path and rights"
        ) from None
    if len(data) > MAX_SIZE:
        raise DocumentError(f"longer than {MAX_SIZE:,} bytes", where=str(path), remedy="split the document")
    return parse(data, kind, str(path))


def parse(data: bytes, kind: type[_D], where: str) -> _D:
    """Read one document from its text; `where` names it in errors."""
    node = _node(data, where)
    loader = _Loader("")
    try:
        content = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DocumentError(f"no YAML: {error}", where=where, remedy="see yaml.org") from None
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        raise DocumentError(
            f"expected a document with keys, not {type(content).__name__}",
            where=where,
            remedy=_expected(kind),
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        # A list whose only entry is wrong is empty to pydantic; the entry's own fault is the one to mend.
        inner = {fault["loc"][:length] for fault in found for length in range(len(fault["loc"]))} - {()}
        faults = [_fault(node, f["loc"], f["msg"], where) for f in found if f["loc"] not in inner]
        place, problem = faults[0]
        more = "".join(f"\n{at}: {what}" for at, what in faults[1:])
        raise DocumentError(problem + more, where=place, remedy=_expected(kind)) from None


def _expected(kind: type[Document]) -> str:
    return f"`rms schema {kind.__name__}` says what it may hold"


def _fault(node: yaml.Node | None, path: Sequence[int | str], message: str, where: str) -> tuple[str, str]:
    """Give file, line and path of a fault, and what is wrong there."""
    names = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    line = _line(node, path)
    place = f"{where}:{line}" if line else where
    problem = message.removeprefix("Value error, ")
    return (f"{place}: {names}" if names else place), problem[0].lower() + problem[1:]


def _line(node: yaml.Node | None, path: Sequence[int | str]) -> int | None:
    """Find the line of a path, or of the last part of it that is there."""
    line = None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _node(data: bytes, where: str) -> yaml.Node | None:
    """Compose the tree of one document; aliases, deep nesting and keys that come twice are refused."""
    try:
        text = data.decode()
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent):
                raise DocumentError(
                    "aliases (*name) are not read", where=_at(where, event), remedy="write the value out"
                )
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise DocumentError(
                    f"nested deeper than {MAX_DEPTH} levels",
                    where=_at(where, event),
                    remedy="make it flatter",
                )
        node = yaml.compose(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        raise DocumentError(
            f"no UTF-8 at byte {error.start}", where=where, remedy="save it as UTF-8"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}:{mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        raise DocumentError(
            f"no YAML: {problem}", where=place, remedy="check indentation and quotes"
        ) from None
    _no_key_twice(node, where)
    return node


def _at(where: str, event: yaml.Event) -> str:
    return f"{where}:{event.start_mark.line + 1}" if event.start_mark else where


def _no_key_twice(node: yaml.Node | None, where: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _no_key_twice(child, where)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key.value, str) and key.value in seen:
                place = f"{where}:{key.start_mark.line + 1}"
                raise DocumentError(
                    f"the key {key.value!r} comes twice", where=place, remedy="keep one of them"
                )
            seen.add(str(key.value))
            _no_key_twice(value, where)
