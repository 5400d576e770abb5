"""Every command of the README is run, in its order, in the folder that it speaks of."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = re.sub(  # of the whole system the commands are run by the test of its page
    r"^## The whole system.*?(?=^## )",
    "",
    (ROOT / "README.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE | re.DOTALL,
)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip()
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.strip()
]


@pytest.mark.timeout(600)
def test_its_commands_run(shell, tmp_path):
    [events] = [text for kind, text in BLOCKS if kind == "json"]
    rule, flow = (text for kind, text in BLOCKS if kind == "yaml")
    (tmp_path / "locks.ndjson").write_text(3 * events)
    (tmp_path / "wrong_pin.yml").write_text(rule)
    (tmp_path / "my-home.yaml").write_text(flow)
    (tmp_path / "rules").mkdir()
    for rule in (ROOT / "datasets/rules").iterdir():
        (tmp_path / "rules" / rule.name).write_bytes(rule.read_bytes())
    generate = [sys.executable, ROOT / "datasets/smart_home.py", tmp_path]
    subprocess.run(generate, check=True, capture_output=True)  # noqa: S603  our own script
    run = [command for command in COMMANDS if command.startswith("rms ")]
    assert len(run) >= 6
    for command in run:
        few = " --permutations 5" if command.startswith("rms parity") else ""  # of 20: test_parity has more
        words = ["bash", "-c", command + few]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "0 threat reports" not in done.stdout
    assert (tmp_path / "reports.ndjson").stat().st_size
    assert (tmp_path / "report.html").stat().st_size


def test_its_python_runs(tmp_path):
    generate = [sys.executable, ROOT / "datasets/smart_home.py", tmp_path]
    subprocess.run(generate, check=True, capture_output=True)  # noqa: S603  our own script
    shutil.copytree(ROOT / "datasets/rules", tmp_path / "rules")
    [code] = [text for kind, text in BLOCKS if kind == "python"]
    last = "print(len(hits), len(found), found.complete)"
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", f"{code}\n{last}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    hits, found, complete = done.stdout.split()
    assert 0 < int(hits) < int(found)
    assert complete == "True"
    assert (tmp_path / "rules/root_tried.yml").stat().st_size
    assert (tmp_path / "timeline.svg").stat().st_size


def test_its_make_commands_are_targets():
    made = [command for command in COMMANDS if command.startswith("make ")]
    assert [command.split()[1] for command in made] == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    for command in made:
        assert re.search(rf"^{command.split()[1]}:.*##", makefile, re.MULTILINE)
    assert {command.split()[0] for command in COMMANDS} == {"make", "rms"}


@pytest.mark.parametrize("document", sorted(path.name for path in ROOT.glob("*.md")))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


@pytest.mark.soak
def test_make_demo_ends_with_a_page():
    subprocess.run(["make", "demo"], cwd=ROOT, check=True, capture_output=True)  # noqa: S607
    assert (ROOT / "out/smart-home/report.html").stat().st_size
