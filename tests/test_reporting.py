"""GRADLOOM_DEBUG and GRADLOOM_DUMP."""

import numpy as np

import gradloom as gl
from gradloom.inspection import STAGES
from gradloom.reporting import LEVELS


def test_every_stage_has_a_level_and_a_text():
    assert set(LEVELS) == set(STAGES)


def compiled():
    function = gl.jit(lambda x: np.sum(np.tanh(x @ x) + 1.0))
    function(np.eye(20))
    return function


def test_nothing_is_printed_by_default(capsys):
    compiled()
    assert capsys.readouterr() == ("", "")


def test_every_level_prints_more(capsys):
    printed = []
    for level in range(1, 6):
        with gl.settings(debug=level):
            compiled()
        printed.append(capsys.readouterr().err)
    assert printed[0].count("\n") == 1
    assert "kernels, arena" in printed[0]
    assert [len(p) for p in printed] == sorted(len(p) for p in printed)
    assert "test_reporting.py" in printed[2]
    assert "def program(table, arena, control, worker, team):" in printed[3]
    assert "define" in printed[4]


def test_dump_writes_the_chosen_stages(tmp_path):
    with gl.settings(dump=("graph", "source"), dump_dir=str(tmp_path)):
        compiled()
    names = sorted(file.name.rsplit("_", 1)[1] for file in tmp_path.iterdir())
    assert names == ["graph.txt", "source.txt"]
    assert set(names) <= {f"{stage}.txt" for stage in STAGES}
