"""Files, globs, compressed files and zip members, decoded.

Guarantee: the same bytes give the same events with the same ids, wherever the file lies and whatever its
name; a file that has grown gives the events it gave before and the new ones.
"""

from __future__ import annotations

import base64
import binascii
import glob
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import msgspec

from rms_flows.decode import decode
from rms_flows.decode.contract import Context, Decoded, Options
from rms_flows.decode.framing import Readable
from rms_flows.errors import SourceError
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.inflate import KINDS, Inflated


@dataclass(frozen=True, slots=True)
class FileSource:
    """Files that a pattern names, each decoded by its format.

    Args:
        pattern: Path or glob (`**` for any depth).
        options: How to read them; without a format each file's is guessed from its content.
        dead_letters: The files hold dead letters; their records are read once more.
    """

    pattern: str
    options: Options = field(default_factory=Options)
    dead_letters: bool = False
    endless = False

    @property
    def uri(self) -> str:
        """The pattern; it holds no secrets."""
        return f"dead-letters:{self.pattern}" if self.dead_letters else self.pattern

    def fragments(self, request: Request) -> list[Fragment]:
        """List the files in the order of their names, of a zip each member; raises SourceError."""
        del request  # what a file holds is not known before it is read
        names = [self.pattern]
        if not Path(self.pattern).exists():
            names = sorted(glob.glob(self.pattern, recursive=True))  # noqa: PTH207  a whole path of wildcards
        paths = [Path(name) for name in names]
        files = [path for path in paths if not path.is_dir()]
        if not files:
            what = "is a folder" if paths else "no such file"
            raise SourceError(what, where=self.pattern, remedy="name a file or a glob such as 'logs/*.log'")
        found = [fragment for path in files for fragment in _fragments(path)]
        if not found:
            raise SourceError("holds no files", where=self.pattern, remedy="name another archive")
        return found

    def columns(self) -> None:
        """Know nothing: what records hold is seen when they are read."""

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Decode a file or member; raises SourceError when it can't be opened, DecodeError for no format."""
        path = Path(fragment.uri)
        name = f"{path.name}!{fragment.key}" if fragment.key else path.name
        context = Context(name, self.options, request.columns)
        first = self.options.format is None
        with _opened(path, dict(fragment.extra).get("member")) as stream:
            inlet = _Letters(stream) if self.dead_letters else stream
            for known, decoded in decode(inlet, context, lines=self.dead_letters):
                yield replace(decoded, guessed=known.name) if first and known else decoded
                first = False
                del decoded  # its memory may be free when the next is decoded


def _fragments(path: Path) -> list[Fragment]:
    if path.suffix.lower() != ".zip":
        with told(path):
            return [Fragment(str(path), size=path.stat().st_size)]
    with told(path), zipfile.ZipFile(path) as archive:
        return [
            Fragment(str(path), member.filename, size=member.file_size, extra=(("member", number),))
            for number, member in enumerate(archive.infolist())  # two members may have one name
            if _is_data(member)
        ]


def _is_data(member: zipfile.ZipInfo) -> bool:
    """Leave out folders and what macOS puts beside each file."""
    name = PurePosixPath(member.filename)
    return not (member.is_dir() or "__MACOSX" in name.parts or name.name.startswith("._"))


@contextmanager
def _opened(path: Path, member: int | None) -> Iterator[Readable]:
    """Open a file, or a member of a zip, decompressed."""
    if member is not None:
        with told(path):
            archive = zipfile.ZipFile(path)
        with archive:
            with told(path):
                inner = archive.open(archive.infolist()[member])
            with inner:
                yield inner
        return
    with told(path):
        handle = path.open("rb")
    with handle:
        ending = path.suffix.lower()
        yield Inflated(handle, ending) if ending in KINDS else handle


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say what is wrong with a file that can't be opened."""
    try:
        yield
    except zipfile.BadZipFile as error:
        raise SourceError(f"no zip archive ({error})", where=str(path), remedy="copy it again") from None
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
        raise SourceError(
            f"the zip can't be read ({error})", where=str(path), remedy="unpack it first"
        ) from None
    except OSError as error:
        raise SourceError(
            f"can't be read ({error.strerror})", where=str(path), remedy="check path and rights"
        ) from None


class _Letters:
    """The original records in a file of dead letters, one a line."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        block = self._stream.read(size)
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop() if block else b""
        # A record over several lines is JSON, where a line feed is a blank.
        found = b"".join(_original(line).replace(b"\n", b" ") + b"\n" for line in lines if line.strip())
        return found or (b"\n" if block else b"")


def _original(line: bytes) -> bytes:
    try:
        return base64.b64decode(msgspec.json.decode(line)["event.original"], validate=True)
    except (msgspec.DecodeError, KeyError, TypeError, binascii.Error):
        raise SourceError(
            f"no dead letter: {line[:60]!r}", remedy="expected lines that a run wrote to --dead-letters"
        ) from None
