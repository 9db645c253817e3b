"""PTX that numba-cuda writes, for kernels of every kind, beside NumPy."""

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

import scipy.special
from numba import float32, uint32

from tests.ptx import PtxError, kernels, load
from tests.ptx.kernels import DOUBLES, FLOATS, INTS, LONGS, WORDS, arguments_of, compiled, ptx_of

RNG = np.random.default_rng(6)


def functions_of(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    parts = [np.exp(x), np.log(x + 3), np.sin(x), np.cos(x) * np.tanh(x), np.sqrt(x), x**2.5]
    return sum(parts) + scipy.special.erf(x) + scipy.special.gammaln(x) + np.expm1(x)


@pytest.mark.parametrize("fastmath", [False, True])
def test_functions_of_float32(fastmath):
    x, y = RNG.uniform(0.1, 2, 1000).astype(np.float32), np.zeros(1000, np.float32)
    module = compiled(kernels.functions, FLOATS, FLOATS, uint32, fastmath=fastmath)
    module.launch(grid=4, block=256, args=[x, y, np.uint32(1000)])
    # Some ten float32 functions added: a few units in the last place (1.2e-7).
    np.testing.assert_allclose(y, functions_of(x), rtol=1e-6)


def test_functions_of_float64():
    x, y = RNG.uniform(0.1, 2, 300), np.zeros(300)
    module = compiled(kernels.functions, DOUBLES, DOUBLES, uint32)
    module.launch(grid=3, block=128, args=[x, y, np.uint32(300)])
    np.testing.assert_allclose(y, functions_of(x), rtol=2e-15)


@pytest.mark.parametrize(("kind", "pointer"), [("i4", INTS), ("i8", LONGS)])
def test_integer_divisions(kind, pointer):
    a = RNG.integers(-1000, 1000, 500).astype(kind)
    b, c = RNG.integers(1, 50, 500).astype(kind) * RNG.choice([-1, 1], 500).astype(kind), a.copy()
    module = compiled(kernels.divisions, pointer, pointer, pointer, uint32)
    module.launch(grid=2, block=256, args=[a, b, c, np.uint32(500)])
    bits = 8 * a.itemsize
    pattern = [int(x) & ((1 << bits) - 1) for x in a]
    counts = np.array([p.bit_count() + bits - p.bit_length() for p in pattern], kind)
    assert (c == a // b * 1000003 + a % b * (a >> 3) + counts).all()


def test_a_sum_through_shared_memory():
    x, y = RNG.standard_normal(1000).astype(np.float32), np.zeros(4, np.float32)
    module = compiled(kernels.block_sum(), FLOATS, FLOATS, uint32)
    counters = module.launch(grid=4, block=256, args=[x, y, np.uint32(1000)], profile=True)
    padded = np.pad(x, (0, 24)).reshape(4, 256).astype(np.float64)
    np.testing.assert_allclose(y, padded.sum(axis=1), atol=1e-5)
    assert counters.bank_conflicts == 0
    assert counters.barriers == 4 * 9
    assert counters.global_read == 4000


def test_a_sum_without_its_first_barrier():
    x, y = np.ones(256, np.float32), np.zeros(1, np.float32)
    module = compiled(kernels.block_sum(meets=False), FLOATS, FLOATS, uint32)
    with pytest.raises(PtxError, match=r"kernel.* line \d+: ld.shared"):
        module.launch(grid=1, block=256, args=[x, y, np.uint32(256)])


def test_an_array_that_is_too_short():
    x, y = np.ones(255, np.float32), np.zeros(1, np.float32)
    module = compiled(kernels.block_sum(), FLOATS, FLOATS, uint32)
    with pytest.raises(PtxError, match=r"thread \(255, 0, 0\).*byte 1020 of argument 0"):
        module.launch(grid=1, block=256, args=[x, y, np.uint32(256)])


def test_a_sum_by_shuffles():
    x, y = RNG.standard_normal(1024).astype(np.float32), np.zeros(32, np.float32)
    module = compiled(kernels.warp_sum, FLOATS, FLOATS)
    counters = module.launch(grid=4, block=256, args=[x, y])
    np.testing.assert_allclose(y, x.reshape(32, 32).sum(axis=1), atol=1e-5)
    assert counters.count("shfl.sync.down") == 5 * 1024


def test_local_arrays():
    x = RNG.standard_normal((64, 8)).astype(np.float32)
    expected = np.sort(x, axis=1)
    compiled(kernels.sorted_eights, FLOATS).launch(grid=2, block=32, args=[x])
    assert (x == expected).all()


@pytest.mark.parametrize("seed", [None, 1])
def test_a_tiled_product_with_edges(seed):
    m, n, k = 50, 37, 29
    a, b = (RNG.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
    c = np.zeros((m, n), np.float32)
    module = compiled(kernels.product, FLOATS, FLOATS, FLOATS, uint32, uint32, uint32)
    sizes = [np.uint32(size) for size in (m, n, k)]
    counters = module.launch(grid=(3, 4), block=(16, 16), args=[a, b, c, *sizes], seed=seed)
    np.testing.assert_allclose(c, a @ b, atol=2e-5)
    assert counters.barriers == 12 * 2 * 2


def test_every_barrier_of_a_product_is_needed():
    signature = (FLOATS, FLOATS, FLOATS, uint32, uint32, uint32)
    lines = ptx_of(kernels.product, *signature).splitlines()
    barriers = [at for at, line in enumerate(lines) if "bar.sync" in line]
    sizes = [np.uint32(size) for size in (16, 16, 40)]
    assert len(barriers) == 2
    for at in barriers:
        a, b, c = (np.ones(640, np.float32) for _ in range(3))
        module = load("\n".join(lines[:at] + lines[at + 1 :]))
        with pytest.raises(PtxError, match=r"race"):
            module.launch(grid=1, block=(16, 16), args=[a, b, c, *sizes])


def test_arrays_as_numba_passes_them():
    x, y = RNG.standard_normal(64).astype(np.float32), np.zeros(2, np.float32)
    module = compiled(kernels.warp_sum, float32[::1], float32[::1])
    module.launch(grid=1, block=64, args=[*arguments_of(x), *arguments_of(y)])
    np.testing.assert_allclose(y, x.reshape(2, 32).sum(axis=1), atol=1e-5)


def test_a_product_on_tensor_cores():
    a = RNG.standard_normal((16, 32)).astype(np.float32)
    b = RNG.standard_normal((32, 8)).astype(np.float32)
    c = np.zeros((16, 8), np.float32)
    module = compiled(kernels.tensor_product, FLOATS, FLOATS, FLOATS, uint32)
    counters = module.launch(grid=1, block=32, args=[a, b, c, np.uint32(32)])
    # tf32 keeps 10 bits of each factor.
    np.testing.assert_allclose(c, a @ b, atol=2.0**-10 * (np.abs(a) @ np.abs(b)).max())
    assert counters.count("mma") == 4 * 32


def test_training_in_one_launch():
    x, truth = RNG.standard_normal((96, 16)).astype(np.float32), RNG.standard_normal(16)
    y = (x @ truth).astype(np.float32)
    expected = np.zeros(16)
    for _ in range(6):
        expected -= 0.1 * (x.T @ (x @ expected - y)) / 96
    signature = (FLOATS, FLOATS, FLOATS, FLOATS, WORDS, uint32, float32, uint32)
    module = compiled(kernels.descent, *signature)
    w, residual = np.zeros(16, np.float32), np.zeros(96, np.float32)
    args = [x, y, w, residual, np.zeros(1, np.uint32)]
    args += [np.uint32(96), np.float32(0.1), np.uint32(6)]
    module.launch(grid=4, block=32, args=args, cooperative=True, races="global")
    np.testing.assert_allclose(w, expected, atol=1e-5)
