"""Matrix products against NumPy: shapes, strides, batches and ranges."""

import ctypes
import itertools
from dataclasses import replace

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from gradloom.codegen.cpu.product import emit_product, strips_of
from gradloom.codegen.cpu.target import Target, host_target, named_target, target_machine
from gradloom.ir.types import row_strides
from gradloom.plan.plan import Product

SIZES = (0, 1, 7, 8, 9, 31, 33, 48, 64, 100, 130)
POISON = 40  # elements of NaN before, between and after what an operand may use


def compiled(product, target=None):
    """The product as a ctypes function; it keeps its engine alive."""
    target = target or host_target()
    engine = llvm.create_mcjit_compiler(parsed(product, target), target_machine(target))
    engine.finalize_object()
    pointers = [ctypes.c_void_p] * (3 + product.fetched)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, *pointers)
    function = kind(engine.get_function_address(product.name))
    function.engine = engine
    return function


def parsed(product, target):
    module = ir.Module("products")
    module.triple = target.triple
    function = emit_product(module, product, target)
    assert emit_product(module, product, target) is function
    function.linkage = "external"
    text = llvm.parse_assembly(str(module))
    text.verify()
    return text


def operand(rng, shape, strides, dtype):
    """A buffer of NaN with random numbers at `strides`, and the view of those numbers."""
    reach = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    size = reach + 1 if np.prod(shape) else 0
    buffer = np.full(size + 2 * POISON, np.nan, dtype)
    item = buffer.itemsize
    steps = [s * item for s in strides]
    view = np.lib.stride_tricks.as_strided(buffer[POISON:], shape, steps)
    view[...] = rng.standard_normal(shape)
    return buffer, view


def run(function, cuts, a, b, c):
    start = [x.ctypes.data + POISON * x.itemsize for x in (a, b, c)]
    start += [None] * (len(function.argtypes) - 5)  # what is only fetched may lie anywhere
    for low, high in itertools.pairwise(cuts):
        function(low, high, *start)


def check(product, seed=0, cuts=None):
    """Compute the product over `cuts` of its outermost axis and compare it with float64 NumPy."""
    rng = np.random.default_rng(seed)
    m, n, depth, batch = product.rows, product.columns, product.depth, product.batch
    k = int(np.prod(depth))
    a_buffer, a = operand(rng, (*batch, m, *depth), product.a_strides, product.dtype)
    a = a.reshape(*batch, m, k)
    b_buffer, b = operand(rng, (*batch, *depth, n), product.b_strides, product.dtype)
    b = b.reshape(*batch, k, n)
    c_buffer, c = operand(rng, (*batch, m, n), product.c_strides, product.dtype)
    c[...] = np.nan
    outermost = (*batch, m)[0]
    run(compiled(product), cuts or (0, outermost), a_buffer, b_buffer, c_buffer)
    exact = a.astype("f8") @ b.astype("f8")
    bound = np.abs(a).astype("f8") @ np.abs(b).astype("f8")
    epsilon = np.finfo(product.dtype).eps
    assert (np.abs(c - exact) <= (k + 1) * epsilon * bound).all()
    result = c.copy()
    c[...] = np.nan
    assert np.isnan(c_buffer).all(), "something outside of C was written"
    return result


def plain(m, n, k, dtype="float32", **changes):
    return replace(Product("product", dtype, (), m, n, (k,), (k, 1), (n, 1), (n, 1)), **changes)


def seeded_shapes(count):
    rng = np.random.default_rng(7)
    shapes = [tuple(int(x) for x in rng.choice(SIZES, 3)) for _ in range(count)]
    empty = [(0, 5, 3), (5, 0, 3), (5, 3, 0)]
    return [*shapes, *empty, (1, 1, 1), (64, 10, 64), (33, 130, 600), (70, 600, 270)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", seeded_shapes(20))
def test_agrees_with_numpy(shape, dtype):
    check(plain(*shape, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), [(9, 31, 7), (64, 64, 48), (33, 100, 300)])
def test_transposed_and_strided_operands(m, n, k, dtype):
    check(plain(m, n, k, dtype, a_strides=(1, m)))
    b_strides, c_strides = (n + 3, 1), (n + 9, 1)
    check(plain(m, n, k, dtype, a_strides=(3 * k + 5, 3), b_strides=b_strides, c_strides=c_strides))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), [(9, 31, 7), (64, 64, 10), (1, 100, 300), (40, 8, 16)])
def test_transposed_second_operand(m, n, k, dtype):
    check(plain(m, n, k, dtype, b_strides=(1, k)))
    check(plain(m, n, k, dtype, b_strides=(1, k + 3), a_strides=(1, m + 1)))


@pytest.mark.parametrize(("m", "n", "k"), [(100, 130, 33), (130, 512, 64), (9, 400, 600)])
@pytest.mark.parametrize("transposed", [False, True])
def test_what_is_fetched_meanwhile_changes_no_bit(m, n, k, transposed):
    product = plain(m, n, k, a_strides=(1, m) if transposed else (k, 1))
    found = check(replace(product, fetched=3), cuts=(0, 7, m))
    np.testing.assert_array_equal(found, check(product))


DEPTHS = [(3, 5), (2, 3, 4), (3, 200), (2, 300), (300, 2), (2, 3, 150), (1, 1), (3, 0), (0, 3)]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_several_axes_of_depth(depth, dtype):
    for m, n in ((9, 31), (70, 100)):
        k = int(np.prod(depth))
        rows = row_strides(depth)
        apart = tuple(2 * stride * m + 3 for stride in rows)  # no two axes can be merged
        changes = {"depth": depth, "a_strides": (2, *apart)}
        b_strides = (*(stride * n + n for stride in rows[:-1]), n, 1)
        whole = check(plain(m, n, k, dtype, **changes, b_strides=b_strides))
        check(plain(m, n, k, dtype, **changes, b_strides=(*(600 * r for r in rows), 1)))
        check(plain(m, n, k, dtype, **changes, b_strides=(*rows, k + 1)))
        cuts = (0, 4, m)
        again = check(plain(m, n, k, dtype, **changes, b_strides=b_strides), cuts=cuts)
        assert (again == whole).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), [(7, 130, 20), (100, 200, 300), (13, 144, 400)])
def test_far_rows_and_steps_of_a_are_packed(m, n, k, dtype):
    """Packed from rows and from columns that lie pages apart, and from neither in a row."""
    for a_strides in ((1, m + 600), (k + 1200, 1), (2, 2 * m + 600)):
        product = plain(m, n, k, dtype, a_strides=a_strides)
        whole = check(product)
        assert (check(product, cuts=(0, 3, 3, 5, m)) == whole).all()
    depth = (3, k // 4)
    changes = {"depth": depth, "b_strides": (n * depth[1], n, 1)}
    for a_strides in ((1, 600, 2000), (8 * k, k + 1, 1)):
        check(plain(m, n, 3 * depth[1], dtype, a_strides=a_strides, **changes))


def test_few_rows_of_a_large_second_operand():
    for m in (1, 5, 20):
        whole = check(plain(m, 2048, 300))
        assert (check(plain(m, 2048, 300), cuts=(0, m // 2, m)) == whole).all()


def test_overlapping_windows_as_a_product():
    """A convolution: rows of A overlap, and its depth is in two axes."""
    n, height, width, c, out, kh, kw = 2, 9, 11, 3, 20, 3, 4
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, height, width, c)).astype("f4")
    w = rng.standard_normal((kh, kw, c, out)).astype("f4")
    oh, ow = height - kh + 1, width - kw + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), (1, 2))
    exact = np.einsum("nijchw,hwco->nijo", windows, w)
    result = np.empty((n, oh, ow, out), "f4")
    line = width * c
    product = Product(
        name="product",
        dtype="float32",
        batch=(n, oh),
        rows=ow,
        columns=out,
        depth=(kh, kw * c),
        a_strides=(height * line, line, c, line, 1),
        b_strides=(0, 0, kw * c * out, out, 1),
        c_strides=(oh * ow * out, ow * out, out, 1),
    )
    compiled(product)(0, n, *(z.ctypes.data for z in (x, w, result)))
    np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-5)


def test_one_column_or_one_step_needs_no_contiguous_axis():
    check(plain(9, 1, 20, b_strides=(3, 7), c_strides=(5, 2)))
    check(plain(9, 1, 20, b_strides=(1, 20)))
    check(plain(9, 20, 1, b_strides=(3, 2)))


def test_operands_without_contiguous_rows_are_refused():
    module = ir.Module("products")
    with pytest.raises(ValueError, match="strides"):
        emit_product(module, plain(4, 4, 4, b_strides=(8, 2)), host_target())
    with pytest.raises(ValueError, match="strides"):
        emit_product(module, plain(4, 4, 4, c_strides=(1, 4)), host_target())


def test_batches():
    m, n, k = 5, 19, 33
    whole = {"a_strides": (2 * m * k, m * k, k, 1), "c_strides": (2 * m * n, m * n, n, 1)}
    product = plain(m, n, k, batch=(3, 2), b_strides=(2 * k * n, k * n, n, 1), **whole)
    check(product)
    check(product, cuts=(0, 1, 1, 3))
    check(replace(product, b_strides=(0, 0, n, 1)))
    check(replace(product, b_strides=(0, k * n, n, 1), a_strides=(m * k, 0, 1, m)))
    check(replace(product, batch=(3, 0)))


@pytest.mark.parametrize(
    "product",
    [
        plain(64, 100, 700),
        plain(130, 33, 9, "float64"),
        plain(600, 48, 130, a_strides=(1, 600)),
        plain(3, 640, 64),
        plain(90, 400, 260),
        plain(20, 50, 300, b_strides=(1, 300)),
    ],
)
def test_bits_do_not_depend_on_the_ranges(product):
    whole = check(product)
    rows = product.rows
    rng = np.random.default_rng(1)
    for _ in range(3):
        cuts = (0, *sorted(int(x) for x in rng.integers(0, rows + 1, 5)), rows)
        assert (check(product, cuts=cuts) == whole).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("wide", "m", "k"), [(64, 70, 300), (48, 9, 33), (112, 130, 1200)])
def test_a_batch_of_groups_of_columns_is_one_product(wide, m, k, dtype):
    n = 5 * wide
    for a_strides, b_strides in (((k, 1), (n, 1)), ((1, m + 600), (1, k)), ((1, m), (n, 1))):
        groups = plain(
            m,
            wide,
            k,
            dtype,
            batch=(5,),
            a_strides=(0, *a_strides),
            b_strides=(wide * b_strides[-1], *b_strides),
            c_strides=(wide, n, 1),
        )
        whole = check(groups)
        assert (check(groups, cuts=(0, 1, 1, 4, 5)) == whole).all()


def test_a_partial_range_writes_its_rows_only():
    product = plain(20, 33, 8)
    rng = np.random.default_rng(0)
    a, _ = operand(rng, (20, 8), (8, 1), "float32")
    b, _ = operand(rng, (8, 33), (33, 1), "float32")
    c, view = operand(rng, (20, 33), (33, 1), "float32")
    view[...] = np.nan
    function = compiled(product)
    run(function, (3, 14), a, b, c)
    run(function, (14, 14), a, b, c)
    run(function, (9, 5), a, b, c)
    written = ~np.isnan(view)
    assert written[3:14].all()
    assert not written[:3].any()
    assert not written[14:].any()


@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("x86-64-v2", "mulps"),
        ("x86-64-v3", "vfmadd"),
        ("x86-64-v4", "zmm"),
        ("aarch64", "fmla"),
    ],
)
def test_named_targets_compile_to_vector_instructions(name, instruction):
    target = named_target(name)
    module = parsed(plain(64, 35, 64), target)
    text = target_machine(target).emit_assembly(module)
    assert instruction in text
    assert "fmaf" not in text, "a multiply-add became a library call"


def narrower(target, vector_bytes):
    return Target(target.triple, target.cpu, target.features, vector_bytes, 16)


@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_narrow_vectors_run_on_the_host(vector_bytes, monkeypatch):
    target = narrower(host_target(), min(vector_bytes, host_target().vector_bytes))
    monkeypatch.setitem(globals(), "host_target", lambda: target)
    for m, n, k in ((9, 31, 7), (33, 130, 20), (16, 13, 8)):
        check(plain(m, n, k))
        check(plain(m, n, k, "float64"))
        check(plain(m, n, k, b_strides=(1, k)))
        check(plain(m, n, k, "float64", b_strides=(1, k)))


def test_strips_cover_the_columns_once():
    targets = [named_target(name) for name in ("x86-64-v2", "x86-64-v4")]
    for columns, lanes, target in itertools.product(range(200), (2, 4, 16), targets):
        at = 0
        for strips in strips_of(columns, lanes, target):
            assert strips.first == at
            at += strips.count * strips.vectors * lanes - (lanes - strips.tail) * bool(strips.tail)
        assert columns <= at < columns + lanes


def test_unknown_target_names_the_known_ones():
    with pytest.raises(ValueError, match="aarch64"):
        named_target("pdp-11")
