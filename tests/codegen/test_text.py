"""Stages as Python text: what the text computes, and how it reads."""

import itertools
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom.ops.elementwise
import gradloom.ops.reduce  # noqa: F401
from gradloom.codegen.text import literal, preamble, stage_text
from gradloom.ir.affine import Affine, Guard, linear
from gradloom.ir.op import OPS
from gradloom.ir.types import DTYPES, row_strides
from gradloom.plan.plan import (
    Apply,
    Constant,
    Fold,
    Inside,
    Load,
    Nest,
    Pick,
    Position,
    Product,
    Store,
)

I, J, K = (Affine.axis(n) for n in range(3))  # noqa: E741


def const(value, dtype="float32"):
    return Constant(np.asarray(value, dtype).tobytes(), dtype)


def nest(sizes, steps, stores, reduced=0):
    return Nest("stage", tuple(sizes), reduced, None, tuple(steps), tuple(stores))


def extent(code):
    """Iterations of the outermost axis."""
    if isinstance(code, Product):
        return code.batch[0] if code.batch else code.rows
    return code.sizes[0] if len(code.sizes) > code.reduced else 1


def run(code, *operands, cuts=None):
    """Run the text over its whole extent, in the pieces that `cuts` name."""
    names = {}
    exec(preamble() + "\n\n" + stage_text(code), names)
    with np.errstate(all="ignore"):
        for start, stop in itertools.pairwise(cuts or (0, extent(code))):
            names[code.name](start, stop, *(x.reshape(-1) for x in operands))


def array(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ---- numbers


def test_elementwise_with_broadcasting():
    x, b, out = array(4, 5), array(5, seed=1), np.empty((4, 5), "float32")
    code = nest(
        (4, 5),
        [Load(0, I * 5 + J, "float32"), Load(1, J, "float32"), Apply("add", (0, 1), "float32")],
        [Store(2, I * 5 + J, 2, "float32")],
    )
    run(code, x, b, out, cuts=(0, 1, 4))
    np.testing.assert_array_equal(out, x + b)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_folds_accumulate_in_their_dtype(name, dtype):
    x = (array(3, 4, 5) * 4).astype(dtype)
    out = np.empty(3, dtype)
    steps = [Load(0, I * 20 + J * 5 + K, dtype), Fold(name, 0, dtype)]
    run(nest((3, 4, 5), steps, [Store(1, I, 1, dtype)], reduced=2), x, out)
    expected = getattr(np, name)(x.astype("float64"), axis=(1, 2))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_a_fold_of_everything_and_of_nothing():
    x, out = array(6), np.empty(1, "float32")
    steps = [Load(0, I, "float32"), Fold("sum", 0, "float32")]
    run(nest((6,), steps, [Store(1, Affine(), 1, "float32")], reduced=1), x, out)
    np.testing.assert_allclose(out[0], x.sum(), rtol=1e-6)
    run(nest((0,), steps, [Store(1, Affine(), 1, "float32")], reduced=1), x[:0], out)
    assert out[0] == 0
    copied = np.empty(6, "float32")
    run(nest((6,), steps, [Store(1, I, 1, "float32")]), x, copied)
    np.testing.assert_array_equal(copied, x)


def test_steps_before_between_and_after_folds():
    """out[i, j] = x[i, j] * sum_k(y[i, k] + s[i]) / max_k(y[i, k]): the fold needs no j."""
    x, y, s, out = array(3, 4), np.exp(array(3, 5)), array(3), np.empty((3, 4), "float32")
    f = "float32"
    row = Affine(0, ((0, 5), (2, 1)))
    steps = [
        Load(2, I, f),
        Load(1, row, f),
        Apply("add", (1, 0), f),
        Fold("sum", 2, f),
        Fold("max", 1, f),
        Apply("divide", (3, 4), f),
        Load(0, I * 4 + J, f),
        Apply("multiply", (6, 5), f),
    ]
    code = nest((3, 4, 5), steps, [Store(3, I * 4 + J, 7, f)], reduced=1)
    run(code, x, y, s, out)
    expected = x * ((y + s[:, None]).sum(1) / y.max(1))[:, None]
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    assert stage_text(code).count("for k in") == 1


def test_a_fold_of_a_fold_runs_the_loops_again():
    """The sum of squared distances from the mean, in one nest."""
    x, out, f = array(3, 5), np.empty(3, "float32"), "float32"
    steps = [
        Load(0, I * 5 + J, f),
        Fold("sum", 0, f),
        const(5),
        Apply("divide", (1, 2), f),
        Apply("subtract", (0, 3), f),
        Apply("multiply", (4, 4), f),
        Fold("sum", 5, f),
    ]
    run(nest((3, 5), steps, [Store(1, I, 6, f)], reduced=1), x, out)
    np.testing.assert_allclose(out, x.var(1) * 5, rtol=1e-5)


def test_guards_read_nothing_outside():
    """x[i + j - 1] for j in 0..2, padded with zeros, minus one within the guard only."""
    x, out, f = array(4), np.empty((4, 3), "float32"), "float32"
    at = I + J + -1
    guard = (Guard(at, 0, 4),)
    steps = [const(1), Load(0, at, f, guard), Apply("subtract", (1, 0), f), Inside(guard, 2, f)]
    run(nest((4, 3), steps, [Store(1, I * 3 + J, 3, f)]), x, out)
    padded = np.pad(x - 1, 1)
    np.testing.assert_array_equal(out, np.lib.stride_tricks.sliding_window_view(padded, 3))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_picks_gather_and_scatter(dtype):
    x, f = array(5, 3), "float32"
    at = np.array([4, 0, 4, 2], dtype)
    if dtype != "uint32":
        at[2] = -1
    gathered, scattered = np.empty((4, 3), f), np.zeros((5, 3), f)
    pick = (Pick(0, 5, 3),)
    steps = [Load(1, I, dtype), Load(0, J, f, (), pick)]
    run(nest((4, 3), steps, [Store(2, I * 3 + J, 1, f)]), x, at, gathered)
    np.testing.assert_array_equal(gathered, x[at])
    steps = [Load(1, I, dtype), Load(0, I * 3 + J, f)]
    stores = [Store(2, J, 1, f, pick, accumulate="sum")]
    run(nest((4, 3), steps, stores), gathered, at, scattered)
    expected = np.zeros((5, 3), f)
    np.add.at(expected, at, gathered)
    np.testing.assert_array_equal(scattered, expected)


@pytest.mark.parametrize("wrong", [5, -6])
def test_a_pick_out_of_range_is_refused(wrong):
    steps = [Load(1, I, "int64"), Load(0, Affine(), "float32", (), (Pick(0, 5, 1),))]
    code = nest((1,), steps, [Store(2, I, 1, "float32")])
    with pytest.raises(IndexError, match=f"index {wrong} is out of range .* size 5"):
        run(code, array(5), np.array([wrong]), array(1))


def test_casts_bools_and_positions():
    x, out = array(6), np.zeros(6, "int64")
    flags = np.zeros(6, "bool")
    steps = [
        Load(0, I, "float32"),
        const(0),
        Apply("greater", (0, 1), "bool"),
        Apply("logical_not", (2,), "bool"),
        Position(I + 3, "uint32"),
        Apply("cast", (4,), "int64"),
        Apply("cast", (0,), "int64"),
        Apply("where", (3, 5, 6), "int64"),
    ]
    stores = [Store(1, I, 7, "int64"), Store(2, I, 3, "bool")]
    run(nest((6,), steps, stores), x, out, flags.view("uint8").view("bool"))
    np.testing.assert_array_equal(flags, ~(x > 0))
    np.testing.assert_array_equal(out, np.where(x > 0, x.astype("int64"), np.arange(6) + 3))


@pytest.mark.parametrize("name", sorted(n for n, row in OPS.items() if row.spelling))
def test_every_spelling_keeps_the_dtype(name):
    row = OPS[name]
    dtype = {"bool": "bool", "integer": "int32", "whole": "int32"}.get(row.accepts, "float32")
    dtypes = ["bool"] * row.flags + [dtype] * (row.operands - row.flags)
    if row.identity is not None:
        dtypes = [dtype]
    domains = (*row.domain, *[row.domain[-1]] * len(dtypes))
    rng = np.random.default_rng(3)
    xs = [rng.uniform(*d, 7).astype(t) for t, d in zip(dtypes, domains, strict=False)]
    returns = dtype if row.returns in ("same", "real") else row.returns
    steps = [Load(n, I, t) for n, t in enumerate(dtypes)]
    numbers = tuple(range(len(steps)))
    out, attrs = np.empty(7, returns), {}
    if row.identity is not None:
        steps.append(Fold(name, 0, dtype))
        run(nest((7,), steps, [Store(1, Affine(), 1, returns)], reduced=1), *xs, out)
        out, attrs = out[0], {"axes": (0,)}
    else:
        if "{dtype}" in row.spelling:
            attrs = {"dtype": dtype}
        run(
            nest(
                (7,), [*steps, Apply(name, numbers, returns)], [Store(len(xs), I, len(xs), returns)]
            ),
            *xs,
            out,
        )
        assert_typed(nest((7,), [*steps, Apply(name, numbers, returns)], []), xs, returns)
    np.testing.assert_allclose(out, row.reference(*xs, **attrs), rtol=2e-6, atol=1e-6)


def assert_typed(code, xs, dtype):
    """The last step of `code` is a scalar of `dtype`, not one that a store would convert."""
    out = np.empty(extent(code), "object")
    stored = nest(code.sizes, code.steps, [Store(len(xs), I, len(code.steps) - 1, dtype)])
    run(stored, *xs, out)
    assert {np.dtype(type(value)).name for value in out} == {dtype}


@pytest.mark.parametrize("sizes", [(0,), (3, 0), (0, 3)])
def test_no_iterations_read_nothing(sizes):
    steps = [Load(0, Affine(), "float32"), Load(0, Affine(), "int64", (), (Pick(0, 0, 1),))]
    code = nest(sizes, steps, [Store(1, Affine(), 1, "float32")])
    run(code, array(0), array(0))


def test_several_stores_read_before_they_write():
    """Two values exchanged in place."""
    x, y, f = array(4), array(4, seed=1), "float32"
    steps = [Load(0, I, f), Load(1, I, f)]
    new_x, new_y = x.copy(), y.copy()
    run(nest((4,), steps, [Store(0, I, 1, f), Store(1, I, 0, f)]), new_x, new_y)
    np.testing.assert_array_equal(new_x, y)
    np.testing.assert_array_equal(new_y, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_literals_are_exact(dtype):
    kind = np.dtype(dtype)
    values = [0, 1]
    if kind.kind == "f":
        limits = np.finfo(kind)
        values += [-0.0, 0.1, 1 / 3, limits.max, limits.tiny, limits.smallest_subnormal]
        values += [np.inf, -np.inf, np.nan]
    elif kind.kind in "iu":
        values += [np.iinfo(kind).min, np.iinfo(kind).max]
    for value in values:
        text = literal(value, dtype)
        names = {"np": np}
        exec(f"back = {text}", names)
        back = names["back"]
        assert back.dtype == kind
        assert np.array(value).astype(kind).tobytes() == back.tobytes() or np.isnan(value), text


# ---- any nest


@st.composite
def nests(draw):
    """Sums of a few loads with any strides and guards, with or without reduced axes."""
    sizes = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)))
    reduced = draw(st.integers(0, len(sizes)))
    steps, guards = [], []
    for _ in range(draw(st.integers(1, 4))):
        axes = draw(st.sets(st.integers(0, len(sizes) - 1)))
        low = draw(st.integers(-2, 3))
        at = linear(tuple(Affine.axis(a) for a in sorted(axes)), tuple(sorted(axes, reverse=True)))
        at = at + low
        guards.append(Guard(at, 0, draw(st.integers(0, 9))))
        steps.append(Load(0, at, "float64", (guards[-1],)))
    loads = len(steps)
    total = 0
    for number in range(1, loads):
        steps.append(Apply("add", (total, number), "float64"))
        total = len(steps) - 1
    steps.append(Fold("sum", total, "float64"))
    steps.append(Apply("multiply", (len(steps) - 1, len(steps) - 1), "float64"))
    kept = sizes[: len(sizes) - reduced]
    index = tuple(Affine.axis(n) for n in range(len(kept)))
    store = Store(1, linear(index, row_strides(kept)), len(steps) - 1, "float64")
    return nest(sizes, steps, [store], reduced)


@settings(max_examples=60)
@given(nests())
def test_any_nest_against_numpy(code):
    x = np.arange(1.0, 10.0)
    kept = code.sizes[: len(code.sizes) - code.reduced]
    out = np.full(kept, np.nan)
    run(code, x, out)
    total = np.zeros(code.sizes)
    for load in (s for s in code.steps if isinstance(s, Load)):
        grid = np.indices(code.sizes)
        at = sum((c * grid[a] for a, c in load.at.terms), np.full(code.sizes, load.at.const))
        (guard,) = load.guards
        inside = (at >= guard.low) & (at < guard.high)
        total += np.where(inside, x[np.where(inside, at, 0)], 0)
    expected = total.sum(axis=tuple(range(len(kept), len(code.sizes)))) ** 2
    np.testing.assert_allclose(out, expected, rtol=1e-12)


# ---- products


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_products(batch):
    m, n, k = 5, 6, 7
    a, b = array(*batch, m, k), array(*batch, k, n, seed=1)
    out = np.zeros((*batch, m, n), "float32")
    a_strides, b_strides, c_strides = (row_strides(x.shape) for x in (a, b, out))
    code = Product("stage", "float32", batch, m, n, (k,), a_strides, b_strides, c_strides)
    run(code, a, b, out, cuts=(0, 1, extent(code)))
    np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)


def test_products_over_several_axes_of_depth():
    m, n, depth = 5, 8, (2, 3)
    a, b = array(3, m, 2), array(*depth, n, seed=1)
    out = np.zeros((m, n), "float32")
    strides = (2, 1, 2 * m), row_strides(b.shape), (n, 1)
    code = Product("stage", "float32", (), m, n, depth, *strides)
    run(code, a, b, out)
    np.testing.assert_allclose(out, np.einsum("hmg,ghn->mn", a, b), rtol=1e-5, atol=1e-5)


def test_a_product_without_depth_is_zero():
    out = array(2, 3)
    code = Product("stage", "float32", (), 2, 3, (0,), (0, 1), (3, 1), (3, 1))
    run(code, array(0), array(0), out)
    assert not out.any()


# ---- how it reads


def test_text_of_a_dense_layer():
    f = "float32"
    steps = [
        Load(0, I * 64 + J, f),
        Load(1, J, f),
        Apply("add", (0, 1), f),
        Apply("tanh", (2,), f),
        const(0.5),
        Apply("multiply", (3, 4), f),
    ]
    code = nest((8, 64), steps, [Store(2, I * 64 + J, 5, f)])
    comments = {2: "model.py:12", 3: "model.py:12", 5: "model.py:13"}
    assert stage_text(code, comments, ("xw", "bias", "h1")) == dedent("""\
        def stage(start, stop, xw, bias, h1):
            for i in range(start, stop):
                for j in range(64):
                    t0 = xw[64 * i + j] + bias[j]                     # model.py:12
                    t1 = np.tanh(t0)                                  # model.py:12
                    h1[64 * i + j] = t1 * np.float32(0.5)             # model.py:13
        """)


def test_text_hoists_folds_guards_and_picks():
    f = "float32"
    at = J + -1
    steps = [
        Load(0, I, "int32"),
        Load(1, I, f),
        Load(2, at, f, (Guard(at, 0, 8),), (Pick(0, 10, 8),)),
        Apply("multiply", (1, 2), f),
        Fold("sum", 3, f),
    ]
    code = nest((4, 8), steps, [Store(3, I, 4, f)], reduced=1)
    assert stage_text(code) == dedent("""\
        def stage(start, stop, p0, p1, p2, p3):
            for i in range(start, stop):
                t0 = p0[i]
                t1 = p1[i]
                t2 = np.float32(0.0)
                for j in range(8):
                    t3 = p2[8 * pick(t0, 10) + j - 1] if j >= 1 else np.float32(0.0)
                    t2 = t2 + (t1 * t3)
                p3[i] = t2
        """)


def test_names_that_the_text_needs_are_not_given_to_operands():
    code = nest((2,), [Load(0, I, "bool")], [Store(1, I, 0, "bool")])
    text = stage_text(code, names=("i", "t0"))
    assert "def stage(start, stop, i_, t0_):" in text
    assert "t0_[i] = i_[i]" in text
