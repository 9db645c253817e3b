"""Seconds for each kernel of a program."""

import numpy as np
import pytest

import gradloom as gl
from gradloom.profiling import Profile, Timing, profile

ROWS, DEPTH, COLUMNS = 24, 40, 56


def two_kernels(**options):
    """A product of oblong matrices, and a sum over its rows."""
    function = gl.jit(lambda x, w: np.sum(np.tanh(x @ w), 0), **options)
    function(np.ones((ROWS, DEPTH), "float32"), np.ones((DEPTH, COLUMNS), "float32"))
    return function


def test_a_profile_has_a_time_for_every_kernel():
    program = two_kernels().program()
    found = profile(program)
    assert [t.name for t in found.timings] == [k.name for k in program.plan.kernels]
    assert all(t.seconds > 0 for t in found.timings)
    assert str(found).count("\n") == len(found.timings) + 2


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


def test_a_product_counts_its_operations_and_its_bytes():
    product, *_ = profile(two_kernels().program()).timings
    assert product.flops >= 2 * ROWS * DEPTH * COLUMNS
    read = ROWS * DEPTH + DEPTH * COLUMNS + ROWS * COLUMNS  # the product too, for its tanh
    written = 2 * ROWS * COLUMNS
    assert product.moved_bytes == 4 * (read + written)


def test_a_program_for_a_team_is_measured_by_one_thread():
    one, two = (profile(two_kernels(threads=n).program()) for n in (1, 2))
    assert [t.flops for t in one.timings] == [t.flops for t in two.timings]
    assert all(t.seconds > 0 for t in two.timings)


def test_a_team_is_measured_where_it_is_asked_for():
    with gl.settings(disable=("lighten",)):
        program = two_kernels().program()
    assert any(s.grain for k in program.plan.kernels for s in k.stages)
    found = profile(program, threads=2)
    assert [t.name for t in found.timings] == [k.name for k in program.plan.kernels]
    assert all(t.seconds > 0 for t in found.timings)


def test_what_is_measured_grows_with_the_work():
    def work(size):
        function = gl.jit(lambda x: np.sin(x))
        return profile(function.program(np.ones(size))).seconds

    assert work(200_000) > 5 * work(1_000)


def test_a_table_has_rates_and_shares():
    found = Profile((Timing("k0", 3e-6, 6000, 12_000), Timing("k1", 1e-6, 0, 500)))
    first, second, total = [line.split() for line in str(found).splitlines()[1:]]
    assert first == ["k0", "3.00", "75%", "2.0", "4.0"]
    assert second == ["k1", "1.00", "25%", "0.0", "0.5"]
    assert total == ["in", "all", "4.00"]
    assert found.seconds == pytest.approx(4e-6)


def test_a_program_without_kernels_has_an_empty_profile():
    assert Profile(()).seconds == 0
    assert str(Profile(())).splitlines()[-1].split() == ["in", "all", "0.00"]


def test_what_a_kernel_reads_by_index_is_inside_of_the_table():
    table, places = np.ones((7, 3), "float32"), np.array([6, 0, 6])
    function = gl.jit(lambda t, i: np.tanh(t[i]))
    found = profile(function.program(table, places))
    assert all(t.seconds > 0 for t in found.timings)
