"""The notebooks in JupyterLab itself: run from an empty kernel to their assertions, and really drawn.

What the browser shows is kept in out/notebooks, to be looked at.
"""

import shutil

import home_day
import nbformat
import pytest
from browsing import browser
from lab import jupyter_lab, run_all
from nbconvert import HTMLExporter

FOLDER = home_day.ROOT / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
KEPT = home_day.ROOT / "out/notebooks"


def code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_they_are_there():
    assert [name[0] for name in NAMES] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_without_outputs_and_ends_in_assertions(name):
    book = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(book)
    assert all(not cell.outputs and cell.execution_count is None for cell in code(book))
    assert code(book)[-1].source.count("assert ") >= 5
    assert book.cells[0].source.startswith("# ")


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """Give a folder, and what opens a notebook in it as a person would."""
    root = tmp_path_factory.mktemp("root")
    for part in ("notebooks", "datasets"):
        shutil.copytree(home_day.ROOT / part, root / part)
    with jupyter_lab(root, tmp_path_factory.mktemp("lab")) as url, browser(chromium) as window:

        def open_(name):
            page = window.new_page(viewport={"width": 1280, "height": 6000})
            page.goto(url.format(name[0], f"notebooks/{name}"))
            return page

        yield root, window, open_


@pytest.mark.parametrize("name", NAMES)
def test_in_jupyter_lab_it_runs_to_its_end_and_draws(name, lab, tmp_path):
    root, window, open_ = lab
    page = open_(name)
    errors = []
    page.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108  Playwright puts a mark on it
    run_all(page)
    book = nbformat.read(root / "notebooks" / name, as_version=4)
    assert [one for cell in code(book) for one in cell.outputs if one.output_type == "error"] == []
    assert errors == []
    canvases = page.locator(".jp-OutputArea-output canvas").all()
    assert len(canvases) == sum(".draw." in cell.source for cell in code(book)) > 0
    assert all(colors(canvas) > 20 for canvas in canvases)
    KEPT.mkdir(parents=True, exist_ok=True)
    page.locator(".jp-NotebookPanel-notebook").screenshot(path=KEPT / f"{name[0]}.png")
    if name[0] == "1":
        brushed(page, canvases[0])
    page.close()
    rendered(book, window, tmp_path, len(canvases))


def colors(canvas):
    """Count what an eye tells apart: an empty picture has none, axes alone have a few."""
    return canvas.evaluate("""one => {
        const bytes = one.getContext('2d').getImageData(0, 0, one.width, one.height).data;
        return new Set(new Uint32Array(bytes.buffer)).size;
    }""")


def brushed(page, canvas):
    """Pull the mouse over some of the lower picture: the upper one shows only that."""
    upper = "one => one.getContext('2d').getImageData(0, 0, one.width, one.height / 2).data.join()"
    before, place = canvas.evaluate(upper), canvas.bounding_box()
    page.mouse.move(place["x"] + place["width"] * 0.6, place["y"] + place["height"] * 0.82)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] * 0.9, place["y"] + place["height"] * 0.82, steps=5)
    page.mouse.up()
    page.wait_for_timeout(300)
    canvas.screenshot(path=KEPT / "brushed.png")
    assert canvas.evaluate(upper) != before


def rendered(book, window, folder, pictures):
    """Look at the page that is made of it, without a network."""
    exporter = HTMLExporter(template_name="page", extra_template_basedirs=[str(home_day.ROOT / "docs")])
    (folder / "page.html").write_text(exporter.from_notebook_node(book)[0])
    page = window.new_context(offline=True).new_page()
    page.goto((folder / "page.html").as_uri())
    images = page.get_by_role("img").all()
    assert len(images) == pictures
    assert all(image.evaluate("one => one.naturalWidth") > 100 for image in images)
    assert all(len(image.get_attribute("alt")) > 10 for image in images)
    page.context.close()
