"""Whole rows in one kernel: softmax, norms, cross entropy and what they are made of, compiled, as
printed text, and cut into any ranges, against the interpreter."""

import itertools

import numpy as np
import pytest
from benchmarks.kernels import stage_function
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.interpreting import compiled

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen.source import program_source, run_source
from gradloom.ir.interpret import interpret
from gradloom.ir.types import TensorType
from gradloom.pipeline import run_passes
from gradloom.plan.assemble import make_plan
from gradloom.tracing import Leaf, record

nn = gl.nn


def rms_norm(x, axis):
    return x / np.sqrt(np.mean(x * x, axis=axis, keepdims=True) + 1e-3)


def stretched(x, axis):
    """Two passes whose results both leave the kernel, and one number a row."""
    low, high = np.min(x, axis=axis, keepdims=True), np.max(x, axis=axis, keepdims=True)
    scaled = (x - low) / (high - low + 1)
    return scaled, np.exp(scaled) / np.sum(np.exp(scaled), axis=axis, keepdims=True), high[..., 0]


ROWS = {
    "softmax": nn.softmax,
    "log_softmax": nn.log_softmax,
    "logsumexp": lambda x, axis: gnp.logsumexp(x, axis),
    "layer_norm": lambda x, axis: nn.layer_norm(x, axis=axis),
    "rms_norm": rms_norm,
    "variance": lambda x, axis: np.var(x, axis=axis),
    "stretched": lambda x, axis: stretched(x, axis) if axis else stretched(x.T, 1),
}
COLUMNS = (1, 10, 16, 17, 48, 130, 1000)  # of which the last two are gone over in loops


def graph_of(function, *arrays):
    leaves = [Leaf(TensorType(a.shape, a.dtype.name), weak=False) for a in arrays]
    return run_passes(record(lambda v: function(*v), leaves).graph)


def numbers(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape, scale=3).astype(dtype)


def assert_agrees(function, *arrays):
    """Compiled as meant, up to rounding, NaN and infinity where they are meant."""
    graph = graph_of(function, *arrays)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[arrays[0].dtype.name]
    found, meant = compiled(graph, *arrays), interpret(graph, *arrays)
    for got, want in zip(found, meant, strict=True):
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    return graph


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(ROWS)),
    rows=st.sampled_from([0, 1, 2, 5, 33]),
    columns=st.sampled_from(COLUMNS),
    axis=st.sampled_from([0, 1]),
    dtype=st.sampled_from(["float32", "float64"]),
    spoiled=st.sampled_from([None, np.nan, np.inf, -np.inf, "row"]),
)
def test_rows_of_any_length_along_any_axis(name, rows, columns, axis, dtype, spoiled):
    shape = (rows, columns) if axis else (columns, rows)
    x = numbers(shape, dtype)
    if x.size and spoiled == "row":
        (x if axis else x.T)[0] = -np.inf
    elif x.size and spoiled is not None:
        x.flat[x.size // 2] = spoiled
    with np.errstate(all="ignore"):
        assert_agrees(lambda v: ROWS[name](v, axis), x)


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize("columns", [10, 48, 130])
def test_rows_are_one_kernel(name, columns):
    plan = make_plan(graph_of(lambda v: ROWS[name](v, 1), numbers((7, columns), "float32")))
    assert len(plan.kernels) == 1
    assert plan.arena_bytes == 0


@pytest.mark.parametrize("columns", [10, 48, 130])
@pytest.mark.parametrize("name", sorted(set(ROWS) - {"stretched"}))
def test_any_cut_of_the_rows_gives_the_same_bits(name, columns):
    x = numbers((37, columns), "float32")
    plan = make_plan(graph_of(lambda v: ROWS[name](v, 1), x))
    (kernel,) = plan.kernels
    functions = [stage_function(stage.code) for stage in kernel.stages]
    found = []
    for cuts in ([0, 37], [0, 1, 2, 18, 37], list(range(38))):
        memory = [np.full(b.type.shape, np.nan, b.type.dtype) for b in plan.buffers]
        (given,) = (n for n, b in enumerate(plan.buffers) if b.space == "input")
        memory[given][...] = x
        for stage, function in zip(kernel.stages, functions, strict=True):
            places = [memory[o.buffer].ctypes.data for o in stage.operands]
            for start, stop in itertools.pairwise(cuts):
                function(start, stop, *places)
        found.append(b"".join(array.tobytes() for array in memory))
    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("name", sorted(ROWS))
@pytest.mark.parametrize("axis", [0, 1])
def test_the_printed_rows_compute_the_same(name, axis):
    from gradloom.codegen import driver

    x = numbers((5, 18), "float64")
    graph = graph_of(lambda v: ROWS[name](v, axis), x)
    plan = make_plan(graph)
    found = run_source(program_source(plan, driver.program_text(plan)), [x])
    for got, want in zip(found, interpret(graph, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "layer_norm", "rms_norm"])
@pytest.mark.parametrize("axis", [0, 1])
def test_derivatives_to_second_order(name, axis):
    x, weights = numbers((6, 11), "float64"), numbers((6, 11), "float64", 1)

    def value(v):
        out = ROWS[name](v, axis)
        return np.sum(np.sin(out) * (weights if out.ndim == 2 else weights.sum(axis)))

    def slope(v):
        return np.sum(gl.grad(value)(v) * weights[::-1])

    step, direction = 1e-5, numbers((6, 11), "float64", 2)
    for function in (value, slope):
        gradient = gl.jit(gl.grad(function))(x)
        ends = [float(gl.jit(function)(x + s * step * direction)) for s in (1, -1)]
        expected = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-5, atol=1e-6)


# ---- cross entropy


def both(logits, labels, cotangent):
    losses, pull = gl.vjp(lambda v: nn.softmax_cross_entropy(v, labels), logits)
    return losses, *pull(cotangent)


@settings(max_examples=20)
@given(
    rows=st.sampled_from([1, 3, 16, 37]),
    columns=st.sampled_from(COLUMNS),
    dtype=st.sampled_from(["float32", "float64"]),
    integer=st.sampled_from(["uint8", "int32", "int64"]),
    spoiled=st.sampled_from([None, np.nan, np.inf, -np.inf]),
)
def test_cross_entropy_and_its_cotangent(rows, columns, dtype, integer, spoiled):
    logits = numbers((rows, columns), dtype)
    labels = np.random.default_rng(1).integers(0, min(columns, 200), rows).astype(integer)
    if spoiled is not None:
        logits.flat[logits.size // 2] = spoiled
    with np.errstate(all="ignore"):
        graph = assert_agrees(both, logits, labels, numbers((rows,), dtype, 3))
    assert len(make_plan(graph).kernels) == 1


def test_a_class_that_cannot_be_costs_nothing():
    """A logit of -inf, as of a masked class, leaves the loss of another class finite."""
    logits = np.array([[0.0, -np.inf, 0.0], [1.0, 2.0, -np.inf]], "float32")
    losses, pulled = gl.jit(both)(logits, np.array([0, 1]), np.ones(2, "float32"))
    np.testing.assert_allclose(losses, [np.log(2), np.log1p(np.exp(-1))], rtol=1e-6)
    assert np.isfinite(pulled).all()
    assert float(nn.softmax_cross_entropy(logits, [1, 0])[0]) == np.inf


def test_labels_out_of_range_cost_nothing_and_pull_nothing():
    logits = numbers((4, 10), "float32")
    losses, pulled = gl.jit(both)(logits, np.array([10, -1, 2**32 + 3, 3]), np.ones(4, "float32"))
    np.testing.assert_array_equal(losses[:3], 0)
    np.testing.assert_array_equal(pulled[:3], 0)
    assert losses[3] > 0


# ---- beside products, and in place


def test_a_product_its_rows_and_their_cotangent_are_one_kernel():
    def loss(x, w, b, labels, cotangent):
        return both(x @ w + b, labels, cotangent)

    shapes = [(200, 9), (9, 48), (48,), (200,)]
    x, w, b, cotangent = (numbers(s, "float32", n) for n, s in enumerate(shapes))
    labels = np.arange(200) % 48
    graph = assert_agrees(loss, x, w, b, labels, cotangent)
    plan = make_plan(graph)
    assert len(plan.kernels) == 1
    assert 0 < plan.kernels[0].block < 200


def test_a_row_is_not_written_where_a_later_pass_reads_it():
    """The first result could lie where x does, but for the second pass, which reads x again."""

    def function(x):
        x = x * 2 + 1
        x = gnp.flip(x, 0)  # in memory, and not needed afterwards
        low = np.min(x, axis=1, keepdims=True)
        first = x - low
        return np.sum(gnp.flip(first, 0)[::2] * 3), x / np.sum(first, axis=1, keepdims=True)

    assert_agrees(function, numbers((6, 130), "float64"))


def test_narrow_values_that_a_row_needs_join_it():
    """What is computed of one number a row, from outside of it, is no kernel of its own."""

    def function(x, scale):
        return nn.softmax(x) * np.exp(np.tanh(scale))[:, None]

    graph = assert_agrees(function, numbers((9, 20), "float64"), numbers((9,), "float64", 1))
    assert len(make_plan(graph).kernels) == 1


def test_numbers_of_columns_are_not_those_of_rows_though_as_many():
    """Sums along rows, spread along columns: a square tells them apart by place alone."""

    def function(x):
        total = np.sum(x, axis=1)
        return x * total[None, :], x * total[:, None]

    assert_agrees(function, numbers((12, 12), "float64"))
