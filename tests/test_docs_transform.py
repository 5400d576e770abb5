"""The page on transformations is run as it stands, and names all that there is."""

import json
import re
import subprocess
from pathlib import Path

from rms_flows.processors.transform.functions import FUNCTIONS
from rms_flows.processors.transform.units import UNITS

PAGE = (Path(__file__).parents[1] / "docs/transform.md").read_text(encoding="utf-8")
FILES = re.findall(
    r"^`(\S+)`[^\n]*(?:\n[^\n`]+)*\n\n```(?:yaml|csv)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
)
[COMMANDS] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

NIGHT, DAY = "2026-01-01T03:00:00Z", "2026-01-01T13:00:00Z"
EVENTS = [
    {"@timestamp": NIGHT, "event.id": "a", "temp": 95, "dev": "hub-1", "source.ip": "10.9.1.1", "user.name": "ann"},
    {"@timestamp": NIGHT, "event.id": "b", "temp": 50, "dev": "x", "source.ip": "203.0.113.9", "debug.x": "1"},
    {
        "@timestamp": DAY, "event.id": "c", "temp": "n/a", "dev": "cam-2", "source.ip": "203.0.113.9",
        "source.bytes": 900, "event.start": DAY, "event.end": "2026-01-01T13:00:03Z",
    },
]  # fmt: skip


def test_its_flow_gives_what_it_says(shell, tmp_path):
    assert [name for name, _ in FILES] == ["home.yaml", "assets.csv", "networks.csv"]
    for name, text in FILES:
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "hub.ndjson").write_text("".join(json.dumps(one) + "\n" for one in EVENTS))
    done = subprocess.run(  # noqa: S603  the page's own words
        ["/bin/bash", "-ec", COMMANDS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    alarms, warm, changed = (
        [json.loads(line) for line in (tmp_path / f"{name}.ndjson").read_text(encoding="utf-8").splitlines()]
        for name in ("alarms", "warm", "changed")
    )
    assert (len(alarms), len(warm)) == (1, 1)
    a, b, c = sorted(map(flat, changed), key=lambda one: one["event.id"])
    assert [one.get("sensor.temperature") for one in (a, b, c)] == ["35", "10", "n/a"]
    assert [one.get("zone") for one in (a, b, c)] == ["guests", "outside", "outside"]
    assert [one.get("host.geo.name") for one in (a, b, c)] == ["cellar", None, "door"]
    assert [one.get("part_of_day") for one in (a, b, c)] == ["night", "night", "day"]
    assert [one.get("rate") for one in (a, b, c)] == [None, None, "300"]
    assert re.fullmatch("[0-9a-f]{32}", a["user.name"])
    assert a["host.owner"] == a["user.name"] != c["host.owner"]
    assert not [name for one in (a, b, c) for name in one if name.startswith(("debug", "temp", "dev"))]


def flat(document, prefix=""):
    found = {}
    for name, value in document.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def test_it_names_every_function_and_unit():
    assert not [name for name in [*FUNCTIONS, "field"] if f"`{name}(" not in PAGE]
    assert not [unit for units in UNITS.values() for unit in units if f"`{unit}`" not in PAGE]
