"""Every notebook runs through, is in step with its script, and names no place of one machine.

`python tests/test_notebooks.py` runs them and writes their outputs anew.
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext", reason="comes with the extra `notebooks`")
nbclient = pytest.importorskip("nbclient", reason="comes with the extra `notebooks`")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 1_500_000
# Folders that hold users' and temporary files, and Jupyter's names for cells.
OWN_PLACES = re.compile(
    r"/(?:home|root|tmp|var|Users|mnt|opt)/|[A-Z]:\\\\|ipykernel_\d|\b\d{6,}\.py"
)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path) -> list[tuple[str, str]]:
    """The kind and the text of each cell."""
    return [(cell.cell_type, cell.source.strip()) for cell in jupytext.read(path).cells]


def outputs(path: Path) -> list[dict[str, Any]]:
    """What the code cells of a committed notebook show."""
    return [output for cell in code_cells(path) for output in cell.outputs]


def code_cells(path: Path) -> list[Any]:
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in FOLDER.glob("*.py")}


@each_notebook
def test_script_and_notebook_have_the_same_cells(path):
    assert cells(path) == cells(path.with_suffix(".py"))


@each_notebook
def test_committed_outputs_are_of_one_whole_run(path):
    code = code_cells(path)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs(path) if output.output_type == "error"]
    assert not [output for output in outputs(path) if output.get("name") == "stderr"]


@each_notebook
def test_committed_outputs_are_small_and_name_no_place(path):
    assert path.stat().st_size < MOST_BYTES
    for output in outputs(path):
        if "image/png" in output.get("data", {}):
            continue  # whose letters are not text
        found = OWN_PLACES.search(json.dumps(output))
        assert not found, json.dumps(output)[max(found.start() - 80, 0) : found.end() + 80]


@pytest.mark.slow  # 20 to 30 seconds
@each_notebook
def test_notebook_runs_through(path, tmp_path):
    notebook = jupytext.read(path.with_suffix(".py"))
    execute(notebook, tmp_path)
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)


def execute(notebook: Any, folder: Path) -> None:
    """Run all cells; raises CellExecutionError with the cell and its traceback."""
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def refresh(path: Path) -> None:
    """Write a notebook anew from its script, with the outputs of one run."""
    notebook = jupytext.read(path.with_suffix(".py"))
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.clear()  # the times of this run
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    jupytext.write(notebook, path)


if __name__ == "__main__":
    for each in NOTEBOOKS:
        refresh(each)
