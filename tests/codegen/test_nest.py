"""Nests as machine code: ranges, ragged rows, long sums, and processors other than this one."""

import llvmlite.binding as llvm
import numpy as np
import pytest
from benchmarks.kernels import stage_function

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen.cpu.target import named_target, target_machine
from gradloom.codegen.module import kernels_text
from gradloom.ir.affine import Affine
from gradloom.plan.plan import ANY, Apply, Constant, Fold, Load, Nest, Store

ROW, COLUMN = Affine.axis(0), Affine.axis(1)


def native(nest):
    """The nest as a callable of a range and arrays."""
    function = stage_function(nest)
    return lambda start, stop, *arrays: function(start, stop, *(a.ctypes.data for a in arrays))


def increment(columns, dtype="float32"):
    at = ROW * columns + COLUMN
    one = Constant(np.ones((), dtype).tobytes(), dtype)
    steps = (Load(0, at, dtype), one, Apply("add", (0, 1), dtype))
    return Nest("increment", (ANY, columns), 0, 1, steps, (Store(1, at, 2, dtype),))


@pytest.mark.parametrize("columns", [1, 3, 10, 15, 16, 17, 33])
def test_nothing_outside_the_range_is_read_or_written(columns):
    rows = 7
    x = np.full((rows + 2, columns), np.nan, "float32")
    x[2:5] = np.arange(3 * columns).reshape(3, columns)
    out = np.full_like(x, -5.0)
    native(increment(columns))(2, 5, x, out)
    np.testing.assert_array_equal(out[2:5], x[2:5] + 1)
    assert (out[:2] == -5).all()
    assert (out[5:] == -5).all()


@pytest.mark.parametrize("shape", [(3, 20, 33), (16, 64), (17, 5), (2, 40, 1)])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_read_along_columns_is_gone_over_by_columns(shape, threads):
    x = np.random.default_rng(0).normal(size=shape)
    y = x.swapaxes(-1, -2).copy()
    found = gl.jit(lambda x, y: 2 * x - gnp.swapaxes(y, -1, -2), threads=threads)
    np.testing.assert_array_equal(found(x, y), x)
    (nest,) = (s.code for k in found.program(x, y).plan.kernels for s in k.stages)
    assert nest.vector != len(nest.sizes) - 1 or 1 in shape


def test_the_vector_axis_may_be_the_range():
    nest = Nest(
        "double",
        (ANY,),
        0,
        0,
        (Load(0, ROW, "float64"), Apply("add", (0, 0), "float64")),
        (Store(1, ROW, 1, "float64"),),
    )
    call = native(nest)
    x = np.arange(100.0)
    for start, stop in ((0, 0), (0, 1), (3, 4), (0, 8), (5, 29), (0, 100), (99, 100)):
        out = np.full(100, -1.0)
        call(start, stop, x, out)
        np.testing.assert_array_equal(out[start:stop], 2 * x[start:stop])
        assert (out[:start] == -1).all()
        assert (out[stop:] == -1).all()


@pytest.mark.parametrize("vector", [0, 1])
def test_any_cut_of_the_range_gives_the_same_bits(vector):
    """Sums over columns (lanes across the sum) and over rows (lanes across the results)."""
    rows, columns = 37, 61
    x = np.random.default_rng(0).normal(size=(rows, columns)).astype("float32")
    if vector:
        kept, at, extent = rows, ROW * columns + COLUMN, columns
    else:
        kept, at, extent = columns, ROW + COLUMN * columns, rows
    steps = (Load(0, at, "float32"), Fold("sum", 0, "float32"))
    nest = Nest("total", (ANY, extent), 1, vector, steps, (Store(1, ROW, 1, "float32"),))
    call = native(nest)
    whole, cut = np.zeros(kept, "float32"), np.zeros(kept, "float32")
    call(0, kept, x, whole)
    for start in range(0, kept, 5):
        call(start, min(start + 5, kept), x, cut)
    np.testing.assert_array_equal(whole, cut)
    np.testing.assert_allclose(whole, x.sum(axis=1 if vector else 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "sum_",
    [lambda x: np.mean(x), lambda x: np.mean(x.reshape(-1, 10), axis=0)],
    ids=["all", "rows"],
)
def test_long_sums_in_single_precision_keep_their_digits(sum_):
    """2e6 terms: one after another they would be off by 1e-6 to 1e-5."""
    x = np.random.default_rng(0).random(2_000_000, dtype="float32")
    found = gl.jit(sum_)(x)
    np.testing.assert_allclose(found, sum_(x.astype("float64")), rtol=1e-6)


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"])
def test_a_whole_training_step_compiles_for_other_processors(name):
    def loss(p, x, y):
        h = np.tanh(x @ p["w"] + p["b"])
        picked = gnp.take(h, np.arange(3), axis=0)
        return gnp.mean(gl.nn.softmax_cross_entropy(h, y)) + gnp.sum(picked[:, ::-1] ** 2)

    step = gl.train_step(loss, gl.optim.adam(1e-3))
    state = step.init({"w": np.ones((9, 11), "f4"), "b": np.zeros(11, "f4")})
    plan = step.program(state, np.ones((20, 9), "f4"), np.arange(20) % 11).plan
    target = named_target(name)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = target_machine(target)
    parsed = llvm.parse_assembly(kernels_text(plan.codes(), target))
    parsed.verify()
    assembly = machine.emit_assembly(parsed)
    fused = {"aarch64": "fmla", "x86-64-v2": "mulps"}.get(name, "vfmadd")
    assert fused in assembly


def test_heavy_operators_are_compiled_once_and_called():
    x = np.linspace(0.5, 3, 50, dtype="float32")

    def three(x):
        return gl.special.gammaln(x) + gl.special.gammaln(x * 2) * gl.special.gammaln(x + 1)

    compiled = gl.jit(three)
    np.testing.assert_allclose(compiled(x), three(x), rtol=2e-5, atol=2e-5)
    lines = compiled.llvm(x).splitlines()
    functions = [line for line in lines if line.startswith("define") and "@row_gammaln" in line]
    calls = [line for line in lines if " call " in line and "@row_gammaln" in line]
    assert len(functions) <= 2  # of vectors, and of scalars
    assert len(calls) >= 3


def test_what_a_constant_goes_into_is_written_out():
    x = np.linspace(0.1, 0.9, 50, dtype="float32")
    compiled = gl.jit(lambda x: gl.special.betainc(2.0, 3.0, x))
    wanted = 6 * x**2 - 8 * x**3 + 3 * x**4
    np.testing.assert_allclose(compiled(x), wanted, rtol=2e-5, atol=2e-5)
    assert "@row_" not in compiled.llvm(x)


@pytest.mark.parametrize("size", [1, 15, 16, 31, 32, 33, 63, 64, 65, 95, 129, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_of_loops_over_several_vectors(size, dtype):
    """Whole rounds, whole vectors after them, and a ragged one: kept, known, and folded."""
    x = np.random.default_rng(size).normal(size=(3, size)).astype(dtype)
    f = gl.jit(lambda x: (x * 2 + 1, x[1] * 3, x.sum(1)), threads=1)
    whole, row, sums = f(x)
    np.testing.assert_array_equal(whole, x * 2 + 1)
    np.testing.assert_array_equal(row, x[1] * 3)
    np.testing.assert_allclose(sums, x.astype(float).sum(1), rtol=1e-4, atol=1e-5)
