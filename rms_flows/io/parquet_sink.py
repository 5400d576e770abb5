"""An archive of observations: Parquet files in partitions by source and day."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from rms_flows.durable import sync
from rms_flows.errors import SinkError
from rms_flows.io.parquet_file import ArchiveFile
from rms_flows.io.parquet_fold import first_of_each, without
from rms_flows.io.staging import Staging, writing

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What readers of hive partitions take for null."""

_ROW_GROUP = 65_536
_FILE = 500_000
_BUFFER = 64 * 1024 * 1024  # bytes
_OPEN_FILES = 64
_DAY = 86_400_000_000  # microseconds


class ParquetSink:
    """Keeps observations in `rms.source=<id>/day=<YYYY-MM-DD>/<hash>.parquet`; days are of UTC.

    Guarantee: after a run the archive holds what it held before and all rows of the run, each event id once a
    partition; where both had it, the new row stays. So the same input twice changes no byte, an input that
    has grown adds what is new, and another input of the same source and day takes nothing away. A run becomes
    visible when it commits: the plan of the change is made durable first, then new files are moved in, then
    old ones removed. After a `kill -9` before the plan nothing has changed, after it the next `prepare`
    completes the change; until then a reader may see an event twice, never miss one. An id that moved to
    another day, because its input is read with another time zone now, is not looked for.

    The column `rms.source` stands in the path alone, as readers of hive partitions expect. Memory is bounded:
    a partition's rows are streamed, its event ids are compared half a million at a time.

    Args:
        folder: The archive; made when it does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.uri = str(folder)
        self._folder = Path(folder).resolve()  # workers may stand elsewhere
        self._staging = Staging(self._folder / ".staging", self.uri)

    @property
    def _plan(self) -> Path:
        return self._staging.folder / "plan.json"

    def prepare(self) -> None:
        """See `Sink.prepare`; completes what a run that was killed while it committed had planned."""
        self._staging.take()
        try:
            with writing(self.uri):
                if self._plan.exists():
                    self._apply()
        except BaseException:
            self._staging.leave()
            raise
        self._staging.clear()

    def part(self, name: str) -> Part:
        """See `Sink.part`."""
        return Part(self._staging.parts / name, self.uri)

    def commit(self) -> int:
        """Fold the new rows into the archive; give the number of new rows that were kept."""
        with writing(self.uri):
            change = self._change()
            made = self._staging.parts / "plan"
            made.write_text(json.dumps({"moves": change.moves, "removes": sorted(change.removes)}))
            sync(made)
            made.replace(self._plan)
            sync(self._plan.parent)
            self._apply()
        self._staging.release()
        return change.kept

    def abandon(self) -> None:
        """See `Sink.abandon`; a change that failed halfway is left for the next `prepare` to complete."""
        if self._plan.exists():
            self._staging.leave()
        else:
            self._staging.release()

    def _change(self) -> _Change:
        """Compare each partition's new files with those that are there."""
        new: dict[str, list[Path]] = {}
        for path in sorted(self._staging.parts.glob("*.part/*/*/*.parquet")):
            new.setdefault(f"{path.parent.parent.name}/{path.parent.name}", []).append(path)
        change = _Change()
        for number, (partition, files) in enumerate(new.items()):
            rewritten = self._staging.parts / f"rewritten-{number}"
            rewritten.mkdir()
            names = {path.name for path in files}
            there = sorted((self._folder / partition).glob("*.parquet"))
            old = [path for path in there if path.name not in names]  # others hold the ids of a new file
            change.removes |= {f"{partition}/{path.name}" for path in there if path.name in names}
            for path, keep in zip([*files, *old], first_of_each([*files, *old]), strict=True):
                is_new = path.is_relative_to(self._staging.folder)
                change.kept += int(keep.sum()) if is_new else 0
                if not is_new and not keep.all():
                    change.removes.add(str(path.relative_to(self._folder)))
                if keep.any() and (is_new or not keep.all()):
                    made = path if keep.all() else without(path, keep, rewritten)
                    sync(made)
                    source = str(made.relative_to(self._staging.folder))
                    change.moves[source] = f"{partition}/{made.name}"
        change.removes -= set(change.moves.values())
        return change

    def _apply(self) -> None:
        """Carry the plan out; what a killed run had done of it already is done."""
        plan = json.loads(self._plan.read_text())
        folders = set()
        for source, target in plan["moves"].items():
            made, place = self._staging.folder / source, self._folder / target
            place.parent.mkdir(parents=True, exist_ok=True)
            folders |= {place.parent, place.parent.parent}
            if made.exists():
                made.replace(place)
        for folder in [*sorted(folders), self._folder]:
            sync(folder)
        for name in plan["removes"]:
            (self._folder / name).unlink(missing_ok=True)
        self._plan.unlink()


@dataclass(slots=True)
class _Change:
    """What a commit does, as paths relative to the staging folder and to the archive."""

    moves: dict[str, str] = field(default_factory=dict)
    removes: set[str] = field(default_factory=set)
    kept: int = 0


@dataclass(slots=True)
class _Partition:
    """Rows of one source and day that wait for their row group, and the file they go to."""

    folder: Path
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    file: ArchiveFile | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        self.batches.append(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes

    def flush(self) -> None:
        """Write what waits as a row group; columns the file lacks begin a new one."""
        if not self.batches:
            return
        table = pa.concat_tables(map(_table, self.batches), promote_options="default")
        if self.file is not None and not _fits(table.schema, self.file.schema):
            table = pa.concat_tables([self.file.schema.empty_table(), table], promote_options="default")
            self.close()
        if self.file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = ArchiveFile(self.folder, table.schema)
        self.file.write(table)
        self.batches, self.rows, self.bytes = [], 0, 0
        if self.file.rows >= _FILE:
            self.close()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _fits(some: pa.Schema, whole: pa.Schema) -> bool:
    return all(f.name in whole.names and whole.field(f.name).type == f.type for f in some)


class Part:
    """Rows of one part in files of their own a partition; stays apart until it is closed."""

    def __init__(self, path: Path, target: str) -> None:
        self._path = path
        self._open = path.with_name(f"{path.name}.open")
        self._target = target
        self._partitions: dict[str, _Partition] = {}
        with writing(target):
            shutil.rmtree(self._open, ignore_errors=True)
            self._open.mkdir()

    def write(self, batch: pa.RecordBatch) -> None:
        """See `Writer.write`."""
        with writing(self._target):
            for name, rows in _split(batch, self._target):
                # Those used last stand last.
                partition = self._partitions.pop(name, None) or _Partition(self._open / name)
                self._partitions[name] = partition
                partition.add(rows)
                if partition.rows >= _ROW_GROUP:
                    partition.flush()
            self._keep_small()

    def close(self) -> None:
        """See `Writer.close`."""
        with writing(self._target):
            for partition in self._partitions.values():
                partition.flush()
                partition.close()
            final = self._path.with_name(f"{self._path.name}.part")
            shutil.rmtree(final, ignore_errors=True)
            self._open.replace(final)

    def _keep_small(self) -> None:
        """Bound what waits and what is open, also where rows are of a thousand days."""
        while sum(partition.bytes for partition in self._partitions.values()) > _BUFFER:
            max(self._partitions.values(), key=lambda partition: partition.bytes).flush()
        using = [partition for partition in self._partitions.values() if partition.file is not None]
        for partition in using[:-_OPEN_FILES]:
            partition.flush()
            partition.close()


def _split(batch: pa.RecordBatch, target: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Give the rows of each partition, in their order."""
    time = batch.column("@timestamp")
    if time.null_count:
        raise SinkError(
            "an observation without @timestamp", where=target, remedy="an archive takes decoded events"
        )
    sources = batch.column("rms.source").cast(pa.string()).dictionary_encode()
    source = sources.indices.fill_null(-1).to_numpy()
    day = time.cast(pa.int64()).to_numpy() // _DAY
    rows = batch.drop_columns(["rms.source"])
    kinds, kind = np.unique(np.stack([source, day]), axis=1, return_inverse=True)
    for number, (code, when) in enumerate(kinds.T.tolist()):
        named = NO_VALUE if code < 0 else quote(sources.dictionary[code].as_py(), safe="")
        name = f"rms.source={named}/day={np.datetime64(when, 'D')}"
        yield name, rows if kinds.shape[1] == 1 else rows.filter(pa.array(kind.reshape(-1) == number))
