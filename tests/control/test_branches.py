"""Branches and loops of unknown length: values and derivatives in every mode, and errors."""

import numpy as np
import pytest

import gradloom as gl
from tests.control.test_scan import assert_equal, eagerly

RNG = np.random.default_rng(6)
X, Y = RNG.normal(size=(2, 4))
YES, NO = np.bool_(1), np.bool_(0)


def choice(p, x, y):
    return gl.cond(p > 0, lambda a: np.sin(a) * y, lambda a: a * a + y, x).sum()


def by_hand(p, x, y):
    return (np.sin(x) * y if p > 0 else x * x + y).sum()


@pytest.mark.parametrize("p", [1.0, -1.0])
def test_a_branch_is_that_of_python(p):
    for transform in (
        lambda f: f,
        lambda f: lambda x, y: gl.grad(f, (0, 1))(x, y),
        lambda f: lambda x, y: gl.jvp(f, (x, y), (y, x)),
        lambda f: lambda x, y: gl.jvp(gl.grad(f, (0, 1)), (x, y), (y, x)),
        lambda f: lambda x, y: gl.hessian(f)(x, y),
    ):
        found = gl.jit(lambda p, x, y, t=transform: t(lambda x, y: choice(p, x, y))(x, y))(p, X, Y)
        wanted = gl.jit(lambda x, y, t=transform: t(lambda x, y: by_hand(p, x, y))(x, y))(X, Y)
        assert_equal(found, wanted)
    assert_equal(
        eagerly(lambda: gl.grad(choice, (1, 2))(p, X, Y)), gl.grad(choice, (1, 2))(p, X, Y)
    )


def test_only_the_branch_that_is_taken_runs():
    f = gl.jit(lambda p, x: gl.cond(p, lambda: np.exp(x), lambda: np.sqrt(x)))
    f(YES, X)
    lines = f.program().driver.splitlines()
    starts = [n for n, line in enumerate(lines) if line.strip().startswith(("if case", "else:"))]
    assert len(starts) == 2
    assert "sqrt" in "".join(lines[starts[0] : starts[1]])
    assert "exp" in "".join(lines[starts[1] :])


@pytest.mark.parametrize("index", [-3, 0, 1, 2, 9])
def test_an_index_out_of_range_takes_the_nearest_branch(index):
    functions = [lambda x: x, lambda x: x * x, np.exp]
    wanted = functions[min(max(index, 0), 2)](X)
    assert_equal(gl.switch(index, functions, X), wanted)
    assert_equal(eagerly(lambda: gl.switch(index, functions, X)), wanted)


def test_a_mapped_condition_takes_each_element_its_own():
    p = np.array([1.0, -1.0, 2.0])
    found = gl.jit(gl.vmap(gl.grad(choice, (1, 2)), in_axes=(0, None, None)))(p, X, Y)
    each = [gl.grad(choice, (1, 2))(q, X, Y) for q in p]
    assert_equal(found, tuple(np.stack(parts) for parts in zip(*each, strict=True)))
    xs = RNG.normal(size=(3, 4))
    mapped = gl.vmap(lambda p, x: choice(p, x, Y), in_axes=(None, 0))
    assert_equal(gl.jit(mapped)(1.0, xs), np.array([by_hand(1.0, x, Y) for x in xs]))


def test_a_python_number_takes_the_dtype_of_the_other_branch():
    x = np.ones(3, "float32")
    out = gl.jit(lambda p, x: gl.cond(p, lambda: x.sum(), lambda: 0))(NO, x)
    assert out.dtype == np.float32


def growth(x, y):
    return gl.while_loop(
        lambda s: (s[0] < 7) & (s[1].sum() < 50),
        lambda s: (s[0] + 1, s[1] * 1.5 + y * np.sin(s[1])),
        (0, x),
    )


def grown(x, y):
    n = 0
    while n < 7 and x.sum() < 50:
        n, x = n + 1, x * 1.5 + y * np.sin(x)
    return n, x


@pytest.mark.parametrize("size", [0.1, 5.0, 30.0])
def test_a_while_loop_is_that_of_python(size):
    found = gl.jit(growth)(X**2 * size, Y)
    assert_equal(found, grown(X**2 * size, Y))
    assert_equal(eagerly(lambda: growth(X**2 * size, Y)), grown(X**2 * size, Y))


def test_a_while_loop_has_tangents():
    x = X**2
    _, slope = gl.jit(lambda x, y: gl.jvp(lambda x, y: growth(x, y)[1], (x, y), (y, x)))(x, Y)
    step = 1e-6
    ahead, behind = grown(x + step * Y, Y + step * x)[1], grown(x - step * Y, Y - step * x)[1]
    assert_equal(slope, (ahead - behind) / (2 * step), 1e-6)


def test_a_mapped_while_loop_stops_each_member_by_itself():
    xs = X**2 * np.array([[0.1], [5.0], [30.0]])
    n, found = gl.jit(gl.vmap(growth, in_axes=(0, None)))(xs, Y)
    each = [grown(x, Y) for x in xs]
    assert_equal(n, np.array([e[0] for e in each]))
    assert_equal(found, np.stack([e[1] for e in each]))


def test_fori_loops_with_known_and_with_traced_bounds():
    def body(i, v):
        return v * np.cos(v) + i

    wanted = X
    for i in range(2, 6):
        wanted = body(i, wanted)
    assert_equal(gl.fori_loop(2, 6, body, X), wanted)
    assert_equal(gl.jit(lambda n, x: gl.fori_loop(2, n, body, x))(6, X), wanted)
    assert_equal(eagerly(lambda: gl.fori_loop(2, 6, body, X)), wanted)
    assert_equal(gl.fori_loop(3, 3, body, X), X)


# ---- misuse


def raises(error, function, *words):
    with pytest.raises(error) as found:
        function()
    text = str(found.value)
    for word in ("test_branches.py", "repair", *words):
        assert word in text, text


def test_branches_that_differ():
    raises(
        gl.ShapeError,
        lambda: gl.cond(YES, lambda x: x[:2], lambda x: x, X),
        "branch 1",
        "float64[2]",
        "float64[4]",
    )
    raises(gl.StructureError, lambda: gl.cond(YES, lambda x: (x, x), lambda x: x, X))
    raises(gl.DtypeError, lambda: gl.cond(YES, lambda x: x.astype("float32"), lambda x: x, X))


def test_conditions_that_are_no_scalars():
    raises(gl.ShapeError, lambda: gl.cond(X > 0, lambda: X, lambda: X), "gnp.where")
    raises(gl.DtypeError, lambda: gl.cond(1.5, lambda: X, lambda: X))
    raises(gl.DtypeError, lambda: gl.switch(1.0, [lambda: X]))
    raises(gl.RangeError, lambda: gl.switch(1, []))
    raises(gl.ShapeError, lambda: gl.while_loop(lambda x: x > 0, lambda x: x - 1, X))


def test_a_while_loop_that_changes_its_value():
    raises(gl.ShapeError, lambda: gl.while_loop(lambda x: x.sum() < 3, lambda x: x[1:], X))


def test_a_while_loop_backwards():
    raises(gl.TracingError, lambda: gl.grad(lambda x: growth(x, Y)[1].sum())(X), "gl.scan")
