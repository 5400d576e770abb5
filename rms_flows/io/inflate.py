"""Gzip and Zstandard files as streams that give all that was there before they break off."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import zstandard

from rms_flows.decode.framing import Readable

CHUNK: Final = 64 * 1024
"""Compressed bytes taken at once; what comes before a damaged chunk is kept."""


class _Inflater(Protocol):
    """A decompressor of one gzip member or Zstandard frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _gzip() -> _Inflater:
    return zlib.decompressobj(wbits=31)


def _zstd() -> _Inflater:
    return zstandard.ZstdDecompressor().decompressobj()


KINDS: Final[Mapping[str, Callable[[], _Inflater]]] = {".gz": _gzip, ".zst": _zstd}
"""Ending of a name → how it is compressed."""


class Inflated:
    """The content of a compressed file, of all its members one after the other.

    Args:
        handle: The file.
        ending: Of its name, one of `KINDS`.

    Raises:
        OSError: From `read`: the file is damaged or cut off.
    """

    def __init__(self, handle: Readable, ending: str) -> None:
        self._handle = handle
        self._make = KINDS[ending]
        self._inner: _Inflater | None = None

    def read(self, size: int, /) -> bytes:
        """Give some bytes, about `size` or fewer, none at the end."""
        parts: list[bytes] = []
        have = 0
        while have < size:
            block = self._handle.read(CHUNK)
            if not block:
                if not parts and self._inner is not None and not self._inner.eof:
                    raise OSError("the compressed file is cut off")
                break
            try:
                self._inflate(block, parts)
            except (zlib.error, zstandard.ZstdError) as error:
                damage = OSError(f"the compressed file is damaged: {error}")
                if not any(parts):
                    raise damage from None
                self._handle = _Damaged(damage)  # told at the next read
                break
            have = sum(map(len, parts))
        return b"".join(parts)

    def _inflate(self, block: bytes, parts: list[bytes]) -> None:
        while block:
            if self._inner is None or self._inner.eof:
                if not block.strip(b"\0"):  # padding, as tapes and some tools leave it
                    return
                self._inner = self._make()
            parts.append(self._inner.decompress(block))
            block = self._inner.unused_data


class _Damaged:
    """Stands for the rest of a file that can't be read."""

    def __init__(self, damage: OSError) -> None:
        self._damage = damage

    def read(self, _size: int, /) -> bytes:
        raise self._damage
