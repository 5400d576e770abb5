"""What rules a stream judged by, kept beside its positions, so that it can be told again what it told."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import xxhash

from rms_flows.errors import SourceError
from rms_flows.flow.plan import Plan
from rms_flows.flow.renewal import packs
from rms_flows.io.staging import publish, writing

_ENDING: Final = ".tar.gz"


def keep(plan: Plan, folder: Path, positions: Path, known: Iterable[Mapping[str, str]]) -> None:
    """Keep the files that a plan's processors were made of, and forget those that nobody names any more.

    Args:
        plan: What runs now.
        folder: Where relative paths of its rules begin; what lies elsewhere is ours, and not kept.
        positions: File of positions, beside which they are kept.
        known: Processor → `rms.pack`, of all that the positions name.

    Raises:
        SinkError: The disk doesn't take them.
    """
    place = _place(positions, packs(plan))
    with writing(str(place)):
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            aside = place.with_name(f".{place.name}.{os.getpid()}")
            with tarfile.open(aside, "w:gz", compresslevel=1, dereference=True) as archive:
                for path in _files(plan, folder):
                    archive.add(path, os.path.relpath(path, folder))
            publish(aside, place)
        wanted = {place, *(_place(positions, each) for each in known)}
        for other in place.parent.glob(f"*{_ENDING}"):
            if other not in wanted:
                other.unlink(missing_ok=True)


def unpack(positions: Path, judged: Mapping[str, str], folder: Path) -> None:
    """Lay the files that processors were made of into a folder.

    Args:
        positions: The file of positions.
        judged: Processor → `rms.pack`.
        folder: An empty one.

    Raises:
        SourceError: They are not kept.
    """
    place = _place(positions, judged)
    try:
        with tarfile.open(place) as archive:
            archive.extractall(folder, filter="data")
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        named = ", ".join(f"{name} {pack[:12]}" for name, pack in judged.items())
        raise SourceError(
            f"the rules that judged as {named} can't be had ({error})",
            where=str(place),
            remedy="bring the file back, or leave out --as-told: the rules of today then judge all of it",
        ) from None


def _files(plan: Plan, folder: Path) -> list[Path]:
    found = dict.fromkeys(path for stage in plan.processors for path in stage.ready().made_of)
    return [path for path in found if path.resolve().is_relative_to(folder.resolve())]


def _place(positions: Path, judged: Mapping[str, str]) -> Path:
    """Name the file of what was judged by: one of a meaning, whatever it is written like."""
    meant = "\n".join(f"{name} {pack}" for name, pack in sorted(judged.items()))
    name = xxhash.xxh3_128_hexdigest(meant.encode())
    return positions.with_name(f"{positions.name}.packs") / f"{name}{_ENDING}"
