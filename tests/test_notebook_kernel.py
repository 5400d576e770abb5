"""What is run in a real IPython kernel is what is run anywhere else."""

from textwrap import dedent

import home_day
import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

import rms_flows as rms


def run_in_a_kernel(cell, folder):
    """Run one cell and give what it printed; an error in it is raised here."""
    book = new_notebook(cells=[new_code_cell(dedent(cell))])
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.validate(book)
    return "".join(one.text for one in book.cells[0].outputs if one.get("name") == "stdout")


def test_a_flow_and_rules_find_in_a_kernel_what_they_find_elsewhere(tmp_path):
    home = home_day.generate(tmp_path)
    printed = run_in_a_kernel(
        f"""
        import rms_flows as rms

        found = rms.run({str(home_day.FLOW)!r}, folder=".")
        some = rms.open("auth.log?year=2026").detect({str(home_day.RULES)!r})
        print(*found.to_arrow()["event.id"].to_pylist(), *some.to_arrow()["event.id"].to_pylist())
        """,
        home,
    )
    found = rms.run(home_day.FLOW, folder=home)
    some = rms.open(f"{home}/auth.log?year=2026").detect(home_day.RULES)
    here = found.to_arrow()["event.id"].to_pylist() + some.to_arrow()["event.id"].to_pylist()
    assert printed.split() == here
    assert len(here) > 400
