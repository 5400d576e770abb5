"""Ask pySigma's SQLite backend when correlations are true: answers that are not ours.

Runs in an environment of its own, because the backend is no dependency of the project::

    python -m venv oracle && oracle/bin/pip install 'pysigma>=2.0,<3' pysigma-backend-sqlite
    oracle/bin/python tests/oracle/make_correlation_answers.py tests/data/sigma/correlation_answers.json

Events have whole seconds, so that neither side rounds their times. The backend looks at a window for each time
at which a rule matches, we at one for each event: answers are by group and time, with the number, and how many
events the window holds. What means something else there is left out, for these reasons:

* `not`: there a window begins at its event, and what is wanted may come after it; here it lies before.
* an order: there it is told again at each event after it while the window holds it, here once, at the event
  that completes it: only the times of the last rule are kept. Its evidence is one event a rule there, so it
  isn't compared; nor is that of conditions, which there leaves out rules of branches that are not true.
* percentiles: there the place is worked out in binary, so 90 of eleven values may be a hair off the tenth;
  only those are asked whose place has no rounding.
* a chain: there the fields of an outer group are taken from any event of the inner correlation.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

from sigma.backends.sqlite import sqliteBackend
from sigma.backends.sqlite.runtime import execute_plan
from sigma.collection import SigmaCollection

RULES = {
    "login": {"action": "login"},
    "fail": {"action": "fail"},
    "drop": {"action": "drop"},
    "far": {"host": ["h1", "h2"]},
}
CORRELATIONS: list[dict[str, Any]] = [
    {"type": "event_count", "rules": ["login", "fail", "far"], "condition": {"gte": 5}, "timespan": 60},
    {"type": "event_count", "rules": ["fail"], "condition": {"lt": 3}, "timespan": 45},
    {"type": "event_count", "rules": ["fail", "drop"], "condition": {"eq": 3}, "timespan": 30},
    {
        "type": "value_count",
        "rules": ["login", "fail"],
        "condition": {"gte": 3, "field": "host"},
        "timespan": 60,
    },
    {
        "type": "value_count",
        "rules": ["drop", "far"],
        "condition": {"neq": 2, "field": "host"},
        "timespan": 20,
    },
    {
        "type": "value_sum",
        "rules": ["login", "drop"],
        "condition": {"gt": 20, "field": "size"},
        "timespan": 40,
    },
    {"type": "value_sum", "rules": ["drop"], "condition": {"eq": 7.5, "field": "size"}, "timespan": 60},
    {"type": "value_avg", "rules": ["far", "fail"], "condition": {"lte": 4, "field": "size"}, "timespan": 60},
    {"type": "value_median", "rules": ["login"], "condition": {"gte": 5, "field": "size"}, "timespan": 60},
    {
        "type": "value_percentile",
        "rules": ["login", "fail", "drop"],
        "condition": {"lt": 3, "field": "size", "percentile": 25},
        "timespan": 60,
    },
    {"type": "temporal", "rules": ["login", "fail", "drop"], "timespan": 25},
    {"type": "temporal", "rules": ["login", "far", "drop"], "condition": {"eq": 2}, "timespan": 25},
    {
        "type": "temporal",
        "rules": ["login", "fail", "drop"],
        "condition": "login or (fail and drop)",
        "timespan": 9,
    },
    {"type": "temporal_ordered", "rules": ["login", "fail", "drop"], "timespan": 40},
    {"type": "temporal_ordered", "rules": ["far", "login"], "timespan": 15},
]
FIELDS = ("time", "user", "action", "host", "size")
EPOCH = 1_700_000_000


def events(number: int) -> list[tuple[Any, ...]]:
    """Make events with ties and with gaps of exactly the timespans above."""
    chance = random.Random(20)  # noqa: S311 - seeded, chosen by hand
    made, time = [], EPOCH
    for _ in range(number):
        time += chance.choice([0, 0, 1, 4, 5, 5, 15])
        made.append(
            (
                time,
                chance.choice(["ada", "bob"]),
                chance.choice(["login", "fail", "drop", "other"]),
                chance.choice(["h1", "h2", "h3", "h4"]),
                chance.choice([0, 1, 2.5, 5, 7.5, 10]),
            )
        )
    return made


def documents(correlation: dict[str, Any]) -> list[dict[str, Any]]:
    """Write a correlation and its rules as Sigma does."""
    rules = [
        {
            "title": name,
            "name": name,
            "logsource": {"category": "test"},
            "detection": {"selection": RULES[name], "condition": "selection"},
        }
        for name in correlation["rules"]
    ]
    meant = {**correlation, "group-by": ["user"], "timespan": f"{correlation['timespan']}s"}
    return [*rules, {"title": "asked", "correlation": meant}]


def answers(database: sqlite3.Connection, correlation: dict[str, Any]) -> list[list[Any]]:
    """Give group, time, number and count of events of each window over which a correlation is true."""
    backend = sqliteBackend(timestamp_field="time", timestamp_format="unix")
    converted = json.loads(backend.convert(SigmaCollection.from_dicts(documents(correlation)), "zircolite"))
    alerts, _ = execute_plan(database, converted[-1]["correlation_plan"], include_events=False)
    return [
        [
            alert["group_keys"]["user"],
            round(alert["window_end"]),
            alert["metric_value"],
            len(alert["event_ids"]),
        ]
        for alert in alerts
    ]


def main(target: Path) -> None:
    """Write events, correlations and answers."""
    made = events(240)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE logs (time INTEGER, user TEXT, action TEXT, host TEXT, size REAL)")
    database.executemany("INSERT INTO logs VALUES (?, ?, ?, ?, ?)", made)
    asked = []
    for correlation in CORRELATIONS:
        told = answers(database, correlation)
        if correlation["type"] == "temporal_ordered":
            last = RULES[correlation["rules"][-1]]["action"]
            ends = {(user, time) for time, user, action, _, _ in made if action == last}
            told = [each for each in told if tuple(each[:2]) in ends]
        asked.append({**correlation, "answers": told})
        print(correlation["type"], len(told))  # noqa: T201 - a script
    lines = ",\n".join(json.dumps(each) for each in asked)
    rows = ",\n".join(json.dumps(each) for each in made)
    rules = json.dumps(RULES)
    target.write_text(
        f'{{"fields": {json.dumps(FIELDS)}, "rules": {rules},\n"events": [\n{rows}\n],\n"correlations": [\n{lines}\n]}}\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
