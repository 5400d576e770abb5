"""What tests of the analyst's window share: a day of the smart home, generated once a run."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOW = ROOT / "datasets/smart-home.yaml"
RULES = ROOT / "datasets/rules"


def generate(folder):
    command = [sys.executable, ROOT / "datasets/smart_home.py", folder]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603  our own script
    return folder
