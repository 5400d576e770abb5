"""Rules from files, folders and archives: every document ends as a rule, a filter, or refused with its reason."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from rms_flows.errors import DocumentError, RmsError, RuleError
from rms_flows.sigma.expression import digest
from rms_flows.sigma.rules import Refused, Rule, RuleSet

if TYPE_CHECKING:
    from sigma.filters import SigmaFilter
    from sigma.processing.pipeline import ProcessingPipeline
    from sigma.rule import SigmaRule

MAX_FILE: Final = 1024 * 1024
"""Longest rule file in bytes; a longer one is refused unread."""
MAX_DEPTH: Final = 64
"""Deepest nesting of a document; the parser's own stack ends far beyond it."""

_ENDINGS: Final = (".yml", ".yaml")
_ARCHIVES: Final = (".tar.gz", ".tgz", ".tar", ".zip")
_DASHES: Final = re.compile("\\B[\u2013\u2014\u2015]\\b")


@dataclass(frozen=True, slots=True)
class _Document:
    file: str
    line: int
    content: Any

    @property
    def title(self) -> str:
        title = self.content.get("title") if isinstance(self.content, dict) else None
        return str(title) if title else "(no title)"


class _Found:
    """What is collected on the way."""

    def __init__(self) -> None:
        self.rules: list[tuple[_Document, SigmaRule]] = []
        self.filters: list[SigmaFilter] = []
        self.refused: list[Refused] = []

    def refuse(self, document: _Document, reason: str) -> None:
        self.refused.append(Refused(document.title, document.file, document.line, reason))


def load(paths: Sequence[Path], pipelines: Sequence[Path] = ()) -> RuleSet:
    """Load all rules under `paths`, in the order of their names.

    Args:
        paths: Rule files (`.yml`, `.yaml`), folders of them at any depth, or archives (`.tar.gz`, `.tar`, `.zip`).
        pipelines: pySigma pipelines (YAML) that map fields and fill in placeholders, applied in this order.

    Returns:
        The rules that can be evaluated and the documents that were refused. Filters are applied to the rules they name.

    Raises:
        DocumentError: A path can't be read, holds no rules, or a pipeline is none; single bad rules never raise.
    """
    found = _Found()
    for path in paths:
        count = 0
        for name, text in _files(Path(path)):
            count += 1
            _parse(name, text, found)
        if not count:
            raise DocumentError("no rule files", where=str(path), remedy="expected .yml files or an archive of them")
    mapping = _pipeline(pipelines)
    rules: dict[str, Rule] = {}
    for document, parsed in found.rules:
        try:
            rule = _rule(document, parsed, found.filters, mapping)
        except RuleError as error:
            found.refuse(document, f"{error.problem}; {error.remedy}")
            continue
        if rule.id in rules:
            found.refuse(document, f"the id {rule.id} is taken by {rules[rule.id].where}; give it an id of its own")
        else:
            rules[rule.id] = rule
    return RuleSet(tuple(rules.values()), tuple(sorted(found.refused, key=lambda r: (r.file, r.line))))


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
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
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DocumentError(f"rules can't be read ({reason})", where=str(path), remedy="check path and rights") from None


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(_ENDINGS):
                    with archive.open(name) as handle:
                        yield f"{path}!{name}", handle.read(MAX_FILE + 1)
        return
    with tarfile.open(path) as tar:
        texts = {
            member.name: handle.read(MAX_FILE + 1)
            for member in tar
            if member.isfile() and member.name.endswith(_ENDINGS) and (handle := tar.extractfile(member))
        }
    yield from ((f"{path}!{name}", texts[name]) for name in sorted(texts))


def _parse(file: str, text: bytes, found: _Found) -> None:
    """Parse the documents of a file; a global part is merged into those after it, as Sigma's `action` says."""
    from sigma.collection import SigmaCollection
    from sigma.exceptions import SigmaError

    common: list[Any] = []
    for document in _documents(file, text, found):
        content = document.content
        if not isinstance(content, dict):
            found.refuse(document, "a rule has to be a mapping of keys to values")
        elif content.get("action") in {"global", "reset"}:
            common = [_prepared(content)] if content["action"] == "global" else []
        elif "action" in content:
            found.refuse(document, f"`action: {content['action']}` is no part of Sigma 2; write each rule out")
        elif "correlation" in content:
            found.refuse(document, "correlations come with a later version")
        else:
            try:
                collection = SigmaCollection.from_dicts(deepcopy([*common, _prepared(content)]), collect_filters=True)
            except (SigmaError, AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
                found.refuse(document, _reason(error))
                continue
            found.filters.extend(collection.filters)
            found.rules.extend((document, rule) for rule in collection.rules)  # type: ignore[misc]  # no correlations


def _documents(file: str, text: bytes, found: _Found) -> Iterator[_Document]:
    from sigma.rule import SigmaYAMLLoader

    line = 1
    try:
        if len(text) > MAX_FILE:
            raise yaml.YAMLError(f"the file is longer than {MAX_FILE} bytes")
        _check_depth(text)
        loader = SigmaYAMLLoader(text)
        while loader.check_node():
            node = loader.get_node()
            line = node.start_mark.line + 1
            content = loader.construct_document(node)
            if content is not None:
                yield _Document(file, line, content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        found.refuse(_Document(file, mark.line + 1 if mark else line, None), f"no YAML: {_reason(error)}")


def _check_depth(text: bytes) -> None:
    """Refuse what would overflow the parser's stack; the bound is cheap, the count is done only where it fails."""
    longest = max(map(len, text.splitlines()), default=0)
    if text.count(b"[") + text.count(b"{") + 2 * longest < 2_000:  # noqa: PLR2004 - far within the stack
        return
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.YAMLError(f"nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _prepared(content: dict[str, Any]) -> dict[str, Any]:
    """Write what pySigma does not know as what it knows: `utf16le` is `wide`; any dash is written as `-`."""

    def detections(node: Any) -> Any:
        if isinstance(node, list):
            return [detections(one) for one in node]
        if not isinstance(node, dict):
            return node
        return dict(item(key, value) for key, value in node.items())

    def item(key: Any, value: Any) -> tuple[Any, Any]:
        field, *modifiers = str(key).split("|")
        if "utf16le" in modifiers:
            key = "|".join([field, *("wide" if one == "utf16le" else one for one in modifiers)])
        if "windash" in modifiers:
            value = [_DASHES.sub("-", v) if isinstance(v, str) else v for v in _listed(value)]
        return key, detections(value)

    part = "filter" if "filter" in content else "detection"
    if not any(word in repr(content.get(part)) for word in ("utf16le", "windash")):
        return content
    return {**content, part: detections(content[part])}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _rule(
    document: _Document, parsed: SigmaRule, filters: Sequence[SigmaFilter], mapping: ProcessingPipeline | None
) -> Rule:
    from sigma.exceptions import SigmaError

    from rms_flows.sigma.translate import detection

    try:
        for one in filters:
            one.apply_on_rule(parsed)
        if mapping is not None:
            mapping.apply(parsed)
        meaning = detection(parsed)
    except RmsError:
        raise
    except (SigmaError, AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise RuleError(_reason(error), remedy="see the Sigma specification") from None
    content = json.dumps(document.content, sort_keys=True, default=str).encode()
    return Rule(
        id=str(parsed.id or uuid.UUID(bytes=hashlib.sha256(content).digest()[:16])),
        title=parsed.title or document.title,
        author=parsed.author,
        level=parsed.level.name.lower() if parsed.level else "medium",
        tags=tuple(map(str, parsed.tags)),
        meaning=digest(meaning),
        file=document.file,
        line=document.line,
        detection=meaning,
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return re.sub(r"\s+", " ", str(error)) or type(error).__name__


def _pipeline(paths: Sequence[Path]) -> ProcessingPipeline | None:
    from sigma.exceptions import SigmaError
    from sigma.processing.pipeline import ProcessingPipeline

    joined: ProcessingPipeline | None = None
    for path in paths:
        try:
            one = ProcessingPipeline.from_yaml(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, SigmaError, yaml.YAMLError) as error:
            raise DocumentError(
                f"no pySigma pipeline: {_reason(error)}", where=str(path), remedy="see pySigma's documentation"
            ) from None
        joined = one if joined is None else joined + one
    return joined
