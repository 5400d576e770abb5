"""JupyterLab as a person has it: a server of its own, opened in a real browser."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page

SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # All cells are in the page, whether one could see them or not.
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
}


@contextmanager
def jupyter_lab(root: Path, aside: Path) -> Iterator[str]:
    """Serve a folder; gives the URL of a workspace, with `{}` in the place of its name and of the path in it.

    Args:
        root: What is served.
        aside: Folder for what Jupyter itself keeps, so that nothing of the user is read or written.
    """
    for name, settings in SETTINGS.items():
        path = aside / "settings" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    token = secrets.token_hex()
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "TMPDIR": "",  # of notebooks
    }
    environment = {
        **os.environ,
        "JUPYTER_TOKEN": token,
        **{key: str(aside / name) for key, name in places.items()},
    }
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={root}"]
    command = [sys.executable, "-m", "jupyterlab", *options]
    with (aside / "log").open("w") as log, subprocess.Popen(command, env=environment, stderr=log) as server:  # noqa: S603
        try:
            yield f"{_url(server, aside)}lab/workspaces/{{}}/tree/{{}}?token={token}"
        finally:
            server.terminate()


def _url(server: subprocess.Popen, aside: Path) -> str:
    """Wait until the server has told where it is."""
    told = aside / "runtime" / f"jpserver-{server.pid}.json"
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        if told.exists() and (text := told.read_text()):
            return json.loads(text)["url"]
        time.sleep(0.1)
    raise AssertionError((aside / "log").read_text())


def run_all(page: Page) -> None:
    """Run all cells of the notebook that is open, wait until the last is done, and save it."""
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(
        """() => [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
            .every(one => /\\[\\d+\\]/.test(one.textContent))""",
        timeout=120_000,
    )
    page.keyboard.press("Control+s")
    page.locator(".jp-mod-dirty").wait_for(state="detached")
