"""GRADLOOM_DEBUG and GRADLOOM_DUMP, and the profile."""

import numpy as np

import gradloom as gl
from gradloom.inspection import STAGES
from gradloom.profiling import profile
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


def test_a_profile_has_a_time_for_every_kernel():
    program = compiled().program()
    found = profile(program)
    assert [t.name for t in found.timings] == [k.name for k in program.plan.kernels]
    assert all(t.seconds > 0 for t in found.timings)
    assert str(found).count("\n") == len(found.timings) + 2


def test_a_team_is_profiled_too():
    with gl.settings(disable=("lighten",)):
        f = gl.jit(lambda x: np.sum(np.tanh(x @ x)))
        program = f.program(np.ones((64, 64)))
    assert any(s.grain for k in program.plan.kernels for s in k.stages)
    found = profile(program, threads=2)
    assert [t.name for t in found.timings] == [k.name for k in program.plan.kernels]
    assert all(t.seconds > 0 for t in found.timings)


def test_a_profile_leaves_the_state_alone():
    step = gl.train_step(lambda p, x: np.sum((p * x) ** 2), gl.optim.adam(0.1))
    state, _ = step(step.init(np.ones(5)), np.ones(5))
    before = state.params
    profile(step.program())
    np.testing.assert_array_equal(state.params, before)


def test_what_calls_another_library_is_left_out_of_a_profile():
    f = gl.jit(lambda x: np.sum(gl.linalg.cholesky(x)))
    found = profile(f.program(np.eye(3)))
    left = [t.name for t in found.timings if t.seconds is None]
    assert len(left) == 1
    assert "cholesky" in left[0]
    assert "another library" in str(found)
    assert found.seconds > 0
