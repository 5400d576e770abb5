"""Every command of the page on documents is run, with the documents that it shows."""

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs/documents.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.strip()]
DOCUMENTS = re.findall(r"^`(documents/\S+)`.*?\n\n```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def test_its_commands_run(shell, tmp_path):
    assert len(DOCUMENTS) == 4
    for place, text in DOCUMENTS:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    flow = next(text for kind, text in BLOCKS if kind == "yaml" and text.startswith("orchestrator"))
    days = ["2025-12-31", "2026-01-15", "2026-02-15"]
    events = [{"@timestamp": f"{day}T00:00:00Z", "event.id": day, "host.cpu.usage": 0.9} for day in days]
    (tmp_path / "metrics.ndjson").write_text("".join(json.dumps(one) + "\n" for one in events))
    (tmp_path / "hub.yaml").write_text(flow)
    told = {}
    for command in COMMANDS:
        if "confirmed.ndjson" in command:
            (tmp_path / "hub.yaml").write_text(
                flow.replace("2026-01-01", "2025-01-01").replace("2026-02-01", "2027-01-01")
            )
        told[command] = run(tmp_path, "bash", "-c", command)
    assert sum("hub-cpu" in said for said in told.values()) >= 5
    reports, confirmed = (
        (tmp_path / name).read_text().splitlines() for name in ("reports.ndjson", "confirmed.ndjson")
    )
    assert (len(reports), len(confirmed)) == (1, 2)
    assert not (tmp_path / "left.ndjson").exists()
    [code] = [text for kind, text in BLOCKS if kind == "python"]
    assert run(tmp_path, sys.executable, "-c", f"{code}\nprint(cellar[0].id)") == "hub-cpu\n"
