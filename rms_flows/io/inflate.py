"""Gzip and Zstandard files as streams that give all that was there before they break off."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import zstandard

from rms_flows.decode.framing import Readable


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


KINDS: Final[Mapping[str, tuple[Callable[[], _Inflater], int]]] = {
    ".gz": (_gzip, 16 * 1024),
    ".zst": (_zstd, 1024),
}
"""Ending of a name → decompressor, and bytes that it is given at once.

So few that what they can become fits in memory, whoever packed them: 16 MB of Gzip (1,032 to 1), 33 MB of
Zstandard (a block of 128 KiB in 4 bytes). What comes before a damaged chunk is kept.
"""


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
        self._make, self._chunk = KINDS[ending]
        self._inner: _Inflater | None = None
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """Give `size` bytes, fewer at the end or before a damage, none at the end."""
        parts, have = [self._left], len(self._left)
        while have < size:
            block = self._handle.read(self._chunk)
            if not block:
                if not have and self._inner is not None and not self._inner.eof:
                    raise OSError("the compressed file is cut off")
                break
            known = len(parts)
            try:
                self._inflate(block, parts)
            except (zlib.error, zstandard.ZstdError) as error:
                damage = OSError(f"the compressed file is damaged: {error}")
                if not any(parts):
                    raise damage from None
                self._handle = _Damaged(damage)  # told at the next read
                break
            have += sum(map(len, parts[known:]))
        data = b"".join(parts)
        self._left = data[size:]
        return data[:size]

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
