"""Choose the 100 rules of the benchmark: those of Windows that find most in the Windows events.

Rules with as many matches come in the order of how common their log source is among Windows rules, then of
their id::

    python tests/oracle/choose_pack.py $RMS_DATASETS tests/data/sigma/windows_answers.json benchmarks/pack-100.txt
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

ARCHIVE = "sigmahq-rules-8eaafff1f.tar.gz"
SIZE = 100
HEADER = f"""\
# {SIZE} rules of SigmaHQ for benchmarks: those with `product: windows` of {ARCHIVE} that match most
# of the Windows events (tests/data/sigma/windows_answers.json), but for those with keywords, which look at all texts
# of an event; with as many matches, those of the most common log source (category and service) first, then by
# id. Made by tests/oracle/choose_pack.py.
"""


def has_keywords(detection: dict[str, Any]) -> bool:
    """Tell whether a detection is a list of words or holds one, without a field."""
    parts = [part for name, part in detection.items() if name not in {"condition", "timeframe"}]
    return any(isinstance(part, (str, int)) or _words(part) for part in parts)


def _words(part: Any) -> bool:
    if isinstance(part, list):
        return any(not isinstance(one, dict) for one in part)
    return isinstance(part, dict) and any(not name or name.startswith("|") for name in part)


def windows_rules(archive: Path) -> dict[str, tuple[str | None, str | None]]:
    """Give id → category and service of each rule for Windows."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            handle = tar.extractfile(member) if member.name.endswith(".yml") else None
            for rule in yaml.load_all(handle.read(), yaml.CSafeLoader) if handle else ():
                source = rule.get("logsource", {})
                if source.get("product") == "windows" and not has_keywords(rule["detection"]):
                    found[str(rule["id"])] = (source.get("category"), source.get("service"))
    return found


def main(datasets: Path, answers: Path, target: Path) -> None:
    """Write the list."""
    sources = windows_rules(datasets / ARCHIVE)
    matched = json.loads(answers.read_text(encoding="utf-8"))["matched"]
    common = Counter(sources.values())
    ranked = sorted(sources, key=lambda rule: (-matched.get(rule, [0])[0], -common[sources[rule]], rule))
    target.write_text(HEADER + "".join(f"{rule}\n" for rule in ranked[:SIZE]), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
