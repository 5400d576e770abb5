"""Rule files, from wherever they lie, as YAML documents that know their file and line."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from sigma.rule import SigmaYAMLLoader

from rms_flows.errors import DocumentError

MAX_FILE: Final = 1024 * 1024
"""Longest rule file in bytes; a longer one is refused unread."""
MAX_DEPTH: Final = 64
"""Deepest nesting of a document; the parser's own stack ends far beyond it."""

_ENDINGS: Final = (".yml", ".yaml")
_INDENT: Final = re.compile(rb"^[ \t?:-]+", re.MULTILINE)
_ARCHIVES: Final = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document of a file.

    Args:
        file: Its name, for an archive `archive!member`.
        line: Where it begins, from 1.
        content: What it holds; None where it is no YAML.
        problem: Why it is no YAML, else None.
    """

    file: str
    line: int
    content: Any
    problem: str | None = None

    @property
    def title(self) -> str:
        """Title of the rule, as far as there is one."""
        title = self.content.get("title") if isinstance(self.content, dict) else None
        return str(title) if title else "(no title)"

    @property
    def made_id(self) -> str:
        """Id of a rule that names none: made from a hash of its content."""
        try:
            content = json.dumps(self.content, sort_keys=True, default=str)
        except TypeError:  # keys of several types have no order, a date is no key of JSON
            content = repr(self.content)
        return str(uuid.UUID(bytes=hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()[:16]))


def read_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Give name and bytes of each rule file; one byte more than allowed shows that it is too long."""
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.suffix in _ENDINGS and file.is_file():
                    with file.open("rb") as handle:
                        yield str(file), handle.read(MAX_FILE + 1)
        elif path.name.endswith(_ARCHIVES):
            yield from _members(path)
        else:
            with path.open("rb") as handle:
                yield str(path), handle.read(MAX_FILE + 1)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DocumentError(
            f"rules can't be read ({reason})", where=str(path), remedy="check path and rights"
        ) from None


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(_ENDINGS):
                    with archive.open(name) as content:
                        yield f"{path}!{name}", content.read(MAX_FILE + 1)
        return
    with tarfile.open(path) as tar:
        texts = {
            member.name: handle.read(MAX_FILE + 1)
            for member in tar
            if member.isfile() and member.name.endswith(_ENDINGS) and (handle := tar.extractfile(member))
        }
    yield from ((f"{path}!{name}", texts[name]) for name in sorted(texts))


def documents(file: str, text: bytes) -> Iterator[Document]:
    """Give the documents of a file; one that is no YAML ends it, with its problem."""
    line = 1
    try:
        if len(text) > MAX_FILE:
            raise yaml.YAMLError(f"the file is longer than {MAX_FILE} bytes")  # noqa: TRY301 - one way out
        _check_depth(text)
        loader = SigmaYAMLLoader(text)
        while loader.check_node():
            node = loader.get_node()
            line = node.start_mark.line + 1 if node is not None else line
            content = loader.construct_document(node)
            if content is not None:
                yield Document(file, line, content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        yield Document(file, mark.line + 1 if mark else line, None, f"no YAML: {reason(error)}")


def _check_depth(text: bytes) -> None:
    """Refuse what would overflow a stack; brackets and indents bound the depth of all but a few files."""
    indent = max(map(len, _INDENT.findall(text)), default=0)
    if text.count(b"[") + text.count(b"{") + indent <= MAX_DEPTH:
        return
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def reason(error: BaseException) -> str:
    """Give the reason of another library's error on one line."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    return re.sub(r"\s+", " ", str(error)) or type(error).__name__
