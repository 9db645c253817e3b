"""Loops of known length: values and derivatives in every mode, memory, code, and errors."""

import re

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan.plan import Region

RNG = np.random.default_rng(5)
W, H, XS = RNG.normal(size=(4, 4)) / 2, RNG.normal(size=4), RNG.normal(size=(6, 4))


def rnn(w, h, xs, reverse=False):
    def step(h, x):
        h = np.tanh(h @ w + x)
        return h, {"norm": (h * h).sum(), "last": h[0]}

    last, found = gl.scan(step, h, xs, reverse=reverse)
    return (last**2).sum() + (found["norm"] * np.sin(found["last"])).sum()


def by_hand(w, h, xs):
    """The same as a Python loop."""
    total = 0.0
    for x in xs:
        h = np.tanh(h @ w + x)
        total = total + (h * h).sum() * np.sin(h[0])
    return (h**2).sum() + total


def eagerly(function, *args):
    with gl.eager():
        return function(*args)


def assert_equal(found, wanted, tolerance=1e-10):
    found, wanted = gl.tree_map(np.asarray, found), gl.tree_map(np.asarray, wanted)
    gl.tree_map(lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), found, wanted)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_is_a_python_loop(reverse):
    xs = XS[::-1] if reverse else XS
    assert_equal(gl.jit(lambda w, h, x: rnn(w, h, x, reverse))(W, H, xs), by_hand(W, H, XS))
    assert_equal(eagerly(lambda: rnn(W, H, xs, reverse)), by_hand(W, H, XS))


DERIVATIVES = {
    "gradient": lambda f: gl.grad(f, (0, 1, 2)),
    "tangent": lambda f: lambda *args: gl.jvp(f, args, args),
    "forward over reverse": lambda f: lambda *args: gl.jvp(gl.grad(f, (0, 1, 2)), args, args),
    "reverse over reverse": lambda f: gl.grad(
        lambda *args: sum((g * g).sum() for g in gl.grad(f, (0, 1, 2))(*args)), (0, 1, 2)
    ),
    "reverse over forward": lambda f: gl.grad(lambda *args: gl.jvp(f, args, args)[1], (0, 1, 2)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_of_a_scan_are_those_of_the_loop(name):
    derivative = DERIVATIVES[name]
    with gl.settings(verify=2):
        found = gl.jit(lambda *args: derivative(rnn)(*args))(W, H, XS)
        wanted = gl.jit(lambda *args: derivative(by_hand)(*args))(W, H, XS)
    assert_equal(found, wanted)


@pytest.mark.parametrize("axes", [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)])
def test_a_mapped_scan_is_a_loop_of_scans(axes):
    args = [
        np.stack([a, a / 2, -a]) if n == 0 else a for a, n in zip((W, H, XS), axes, strict=True)
    ]
    gradient = gl.grad(rnn, (0, 1, 2))
    found = gl.jit(gl.vmap(gradient, in_axes=axes))(*args)
    each = [
        gl.jit(gradient)(*(a[i] if n == 0 else a for a, n in zip(args, axes, strict=True)))
        for i in range(3)
    ]
    assert_equal(found, tuple(np.stack(parts) for parts in zip(*each, strict=True)))


def test_carries_may_change_places():
    def step(carry, _):
        a, b, c = carry
        return (b, c, a + b), a

    start = (np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5.0, 6.0]))
    found = gl.jit(lambda s: gl.scan(step, s, None, length=7))(start)
    assert_equal(found, eagerly(lambda: gl.scan(step, start, None, length=7)))


def test_carries_and_rows_of_every_dtype():
    def step(carry, x):
        n, flag, total = carry
        return (n + 1, flag ^ (x > 0), total + x), (n, flag)

    start = (np.int32(3), np.bool_(1), np.float32(0))
    xs = RNG.normal(size=9).astype("float32")
    found = gl.jit(lambda s, x: gl.scan(step, s, x))(start, xs)
    wanted = eagerly(lambda: gl.scan(step, start, xs))
    assert_equal(found, wanted, 1e-6)
    assert [a.dtype for a in found[0]] == ["int32", "bool", "float32"]


def test_no_rounds_and_one():
    f = gl.jit(lambda c, x: gl.scan(lambda c, x: (c + x, c * 2), c, x))
    for count in (0, 1):
        last, ys = f(H, XS[:count])
        assert ys.shape == (count, 4)
        assert_equal(last, H + XS[:count].sum(0))


def test_a_python_number_takes_the_dtype_of_what_it_becomes():
    last, ys = gl.jit(lambda x: gl.scan(lambda s, x: (s + x, s), 0, x))(np.ones(3, "float32"))
    assert last.dtype == ys.dtype == np.float32


def test_loops_within_loops_with_branches_within():
    def f(x, np_=gnp):
        def outer(carry, row):
            last, ys = gl.scan(lambda c, k: (np.sin(c * k) + row, c), carry, np_.arange(3.0))
            return last, gl.cond(last.sum() > 0, lambda: ys * 2, lambda: -ys)

        return (gl.scan(outer, np_.ones(2) * 0.3, x)[1] ** 2).sum()

    x = RNG.normal(size=(5, 2))
    with gl.settings(verify=2):
        assert_equal(gl.jit(gl.grad(f))(x), eagerly(lambda: gl.grad(f)(x)))
        direction = RNG.normal(size=x.shape)
        slope = gl.jit(lambda x, d: gl.jvp(gl.grad(f), (x,), (d,))[1])(x, direction)
    ahead, behind = (eagerly(lambda s=s: gl.grad(f)(x + s * direction)) for s in (1e-6, -1e-6))
    assert_equal(slope, (ahead - behind) / 2e-6, 1e-5)


def test_the_length_changes_neither_kernels_nor_lines():
    def lines(length):
        f = gl.jit(gl.grad(rnn))
        f(W, H, RNG.normal(size=(length, 4)))
        # A product after the loop is as deep as the loop is long, which its name tells.
        lines = re.sub("product_[0-9a-f]{8}", "product", f.program().driver).splitlines()
        shared = ("worker == 0", "meet")  # more rounds are worth a team
        calls = [x.split("(")[0].strip() for x in lines if not any(word in x for word in shared)]
        return [re.sub("_[0-9a-f]{8}", "", call) for call in calls]  # as deep as the loop is long

    assert lines(10) == lines(10_000)


def test_the_forward_loop_runs_once_for_value_and_gradient():
    f = gl.jit(gl.value_and_grad(rnn, (0, 1, 2)))
    f(W, H, XS)
    regions = [part for part in f.program().plan.parts if isinstance(part, Region)]
    assert [r.reverse for r in regions] == [False, True]


def test_a_rule_may_bring_values_that_the_body_did_not_have():
    """The derivative of a determinant calls a function of LAPACK that the determinant does not."""

    def f(x):
        def step(total, row):
            _, logdet = gnp.linalg.slogdet(x + np.diag(row))
            return total + logdet * row.sum(), None

        return gl.scan(step, 0.0, XS)[0]

    x = W + 4 * np.eye(4)
    wanted = sum(np.linalg.inv(x + np.diag(row)).T * row.sum() for row in XS)
    assert_equal(gl.grad(f)(x), wanted)
    mapped = gl.jit(gl.vmap(gl.grad(f)))(np.stack([x, x.T]))
    assert_equal(mapped, np.stack([wanted, gl.grad(f)(x.T)]))


def test_what_nobody_reads_is_not_kept():
    f = gl.jit(lambda c, x: gl.scan(lambda c, x: (c + x, (c, np.exp(c))), c, x)[0])
    f(H, XS)
    assert "exp" not in f.program().driver


def test_a_loop_in_a_training_step():
    def loss(params, xs, y):
        last, _ = gl.scan(lambda h, x: (np.tanh(h @ params["w"] + x), None), params["h"], xs)
        return ((last - y) ** 2).sum()

    step = gl.train_step(loss, gl.optim.sgd(0.05))
    state = step.init({"w": W, "h": H})
    losses = []
    for _ in range(20):
        state, value = step(state, XS, np.ones(4))
        losses.append(float(value))
    assert losses[-1] < losses[0] / 4


# ---- misuse


def raises(error, function, *words):
    with pytest.raises(error) as found:
        function()
    text = str(found.value)
    for word in ("test_scan.py", "repair", *words):
        assert word in text, text


def test_a_carry_that_changes_its_shape_or_dtype():
    raises(gl.ShapeError, lambda: gl.scan(lambda c, x: (c[:2], x), H, XS), "float64[2]")
    raises(
        gl.DtypeError,
        lambda: gl.scan(lambda c, x: (c.astype("float32"), x), H, XS),
        "float32[4]",
        "float64[4]",
    )
    raises(gl.StructureError, lambda: gl.scan(lambda c, x: ((c, c), x), H, XS), "structure")


def test_a_function_that_returns_no_pair():
    raises(gl.StructureError, lambda: gl.scan(lambda c, x: c, H, XS), "(carry, y)")


def test_rows_of_different_lengths():
    raises(gl.ShapeError, lambda: gl.scan(lambda c, x: (c, c), H, (XS, XS[:2])), "6", "2")
    raises(gl.ShapeError, lambda: gl.scan(lambda c, x: (c, c), H), "length")
    raises(gl.ShapeError, lambda: gl.scan(lambda c, x: (c, c), H, XS, length=3), "length: 3")
    raises(gl.ShapeError, lambda: gl.scan(lambda c, x: (c, c), H, 1.0), "no leading axis")


def test_a_value_of_the_body_that_leaks_out():
    kept = []

    def step(c, x):
        kept.append(c * 2)
        return c + x, None

    def f(h, xs):
        last, _ = gl.scan(step, h, xs)
        return last + kept[0]

    raises(gl.TracingError, lambda: gl.jit(f)(H, XS), "leaked", "return kept" * 0)


def test_a_body_that_branches_in_python():
    raises(gl.TracingError, lambda: gl.scan(lambda c, x: (c if x.sum() > 0 else -c, None), H, XS))


def test_what_is_cheap_to_compute_of_the_rest_is_not_stacked():
    def loss(w, xs):
        def step(h, x):
            gate = np.tanh(h @ w + x)  # whose slope is 1 - gate * gate
            return gate * gate * gate, None

        return gl.scan(step, np.zeros((2, 3)), xs)[0].sum()

    w, xs = RNG.normal(size=(3, 3)), RNG.normal(size=(5, 2, 3))
    slope = gl.jit(gl.grad(loss), verify=True)
    slope(w, xs)
    forward, _ = (n for n in slope.program(w, xs).graph.nodes() if n.op.flow == "for")
    stacked = len(forward["body"].outputs) - forward["carries"]
    assert stacked == 2  # the gate and the carry
