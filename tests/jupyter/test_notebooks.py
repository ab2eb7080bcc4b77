"""Each notebook of the tour runs from top to bottom by itself: no server, no other notebook, no person."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.hubs import end_hubs
from tests.support.jupyter_server import private_environment

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

SHOWN = {
    ("03-other-languages", "ruby"): ["Paris"],
    ("03-other-languages", "javascript"): ["Tokyo"],
    ("03-other-languages", "ask-both"): ["Ruby says 6", "JavaScript says 6"],
    ("03-other-languages", "r"): ["Nairobi"],
    ("03-other-languages", "task-r"): ["('report:mean', 3)"],
    ("03-other-languages", "take"): ["array([ 6., 22., 38.])"],
}
"""What cells show, by notebook and cell, where a run without an error does not say enough."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_hubs(tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, home):
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=30, resources={"metadata": {"path": str(home)}})
    client.execute(env=private_environment(home))
    for cell in notebook.cells:
        for text in SHOWN.get((path.stem, cell.id), ()):
            assert text in str(cell.outputs), cell.outputs


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opening_a_notebook_in_jupyterlab_does_not_change_its_metadata(path):
    metadata = nbformat.read(path, as_version=4).metadata
    assert metadata.kernelspec == {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    assert set(metadata.language_info) == {
        "codemirror_mode",
        "file_extension",
        "mimetype",
        "name",
        "nbconvert_exporter",
        "pygments_lexer",
        "version",
    }


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS][:2] == ["01-two-notebooks", "02-the-other-notebook"]
