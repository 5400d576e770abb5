"""The notebooks run from an empty kernel, end in assertions, and really draw."""

import home_day
import nbformat
import pytest
from browsing import without_network
from nbclient import NotebookClient
from nbconvert import HTMLExporter

FOLDER = home_day.ROOT / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
MARKS = ("mark-rect", "mark-line", "mark-symbol", "mark-rule")


def code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def outputs(book, kind):
    return [one.data[kind] for cell in code(book) for one in cell.outputs if kind in one.get("data", {})]


def test_they_are_there():
    assert [name[0] for name in NAMES] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_without_outputs_and_ends_in_assertions(name):
    book = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(book)
    assert all(not cell.outputs and cell.execution_count is None for cell in code(book))
    assert code(book)[-1].source.count("assert ") >= 5
    assert book.cells[0].source.startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_an_empty_kernel_and_draws_also_as_a_page(name, chromium, tmp_path):
    book = nbformat.read(FOLDER / name, as_version=4)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(FOLDER)}}).execute()
    pictures = outputs(book, "image/svg+xml")
    assert len(pictures) == sum(".draw." in cell.source for cell in code(book)) > 0
    assert all(any(mark in picture for mark in MARKS) for picture in pictures)
    assert all("/v5.json" in one["$schema"] for one in outputs(book, "application/vnd.vegalite.v5+json"))
    (tmp_path / "page.html").write_text(HTMLExporter().from_notebook_node(book)[0])
    with without_network(chromium) as browser:
        page = browser.new_page()
        page.goto((tmp_path / "page.html").as_uri())
        images = page.get_by_role("img").all()
        assert len(images) == len(pictures)
        assert all(image.evaluate("one => one.naturalWidth") > 100 for image in images)
        assert all(len(image.get_attribute("alt")) > 10 for image in images)
