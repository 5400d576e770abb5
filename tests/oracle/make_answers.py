"""Ask pySigma's SQLite backend which events each rule matches: answers that are not ours.

Runs in an environment of its own, because the backend is no dependency of the project::

    python -m venv oracle && oracle/bin/pip install 'pysigma>=2.0,<3' pysigma-backend-sqlite
    oracle/bin/python tests/oracle/make_answers.py $RMS_DATASETS tests/data/sigma/windows_answers.json

Events are counted in the order of file name, member name and line, lines that are no JSON left out. The
answers hold for each rule with a match its number of events and a hash of their ordinals; rules without a
match are listed by id alone, and what the backend can't convert with its reason.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import struct
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaError
from sigma.rule import SigmaYAMLLoader

FULLTEXT = "sigma_fulltext"


def events(folder: Path) -> Iterator[dict[str, Any]]:
    """Give the events in their order."""
    for path in sorted(folder.glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                for line in archive.read(member).split(b"\n"):
                    try:
                        yield json.loads(line)
                    except ValueError:
                        continue


def rules(archive: Path) -> Iterator[Any]:
    """Give the rules of an archive, each parsed by itself."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith(".yml"):
                handle = tar.extractfile(member)
                assert handle is not None
                documents = list(yaml.load_all(handle.read(), SigmaYAMLLoader))
                yield from SigmaCollection.from_dicts(documents).rules


def text(value: Any) -> str | None:
    """Write a value as the text that a column of ours would hold."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def fill(database: sqlite3.Connection, folder: Path, columns: Sequence[str]) -> int:
    """Make the table of events; SQLite's column names have no case, so a later spelling finds no value."""
    spelled = ", ".join(f"`{name}` TEXT COLLATE NOCASE" for name in (*columns, FULLTEXT))
    database.execute(f"CREATE TABLE logs ({spelled})")
    marks = ",".join("?" * (len(columns) + 1))
    rows = (
        [
            *(text(event.get(name)) for name in columns),
            "\n".join(v for v in event.values() if isinstance(v, str)),
        ]
        for event in events(folder)
    )
    return database.executemany(f"INSERT INTO logs VALUES ({marks})", rows).rowcount  # noqa: S608 - marks only


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """Keep compiled patterns."""
    return re.compile(pattern)


def regexp(pattern: str, value: str | None) -> bool:
    """Serve SQLite's REGEXP operator."""
    return value is not None and compiled(pattern).search(value) is not None


def main(datasets: Path, target: Path) -> None:
    """Write the answers for all rules over all Windows events."""
    backend = sqliteBackend(fulltext_field=FULLTEXT)
    queries: dict[str, str] = {}
    refused: dict[str, str] = {}
    columns: dict[str, str] = {}
    for rule in rules(datasets / "sigmahq-rules-8eaafff1f.tar.gz"):
        try:
            (query,) = backend.convert_rule(rule)
            queries[str(rule.id)] = query
            for name in backend.required_fields(rule):
                if name != FULLTEXT:
                    columns.setdefault(name.lower(), name)
        except SigmaError as error:
            refused[str(rule.id)] = str(error).splitlines()[0]
    database = sqlite3.connect(":memory:")
    database.create_function("REGEXP", 2, regexp, deterministic=True)
    total = fill(database, datasets / "windows_events", list(columns.values()))
    print(f"{total} events, {len(queries)} rules, {len(refused)} refused", flush=True)  # noqa: T201 - a script
    matched: dict[str, tuple[int, str]] = {}
    for identity, query in queries.items():
        found = [row[0] - 1 for row in database.execute(query.replace("SELECT *", "SELECT rowid", 1))]
        if found:
            digest = hashlib.sha256(struct.pack(f"<{len(found)}q", *sorted(found))).hexdigest()[:16]
            matched[identity] = (len(found), digest)
    answers = {
        "events": total,
        "matched": matched,
        "silent": sorted(queries.keys() - matched.keys()),
        "refused": refused,
    }
    target.write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
