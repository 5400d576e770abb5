"""A real browser that tests look at pages with."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """Start the Chromium that is installed; Playwright's own would have to be downloaded."""
    with sync_playwright() as playwright:
        # In a container its sandbox can't be set up.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
