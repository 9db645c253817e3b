"""How a plan is dealt out among the blocks of a GPU."""

from __future__ import annotations

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan.dealt import BLOCK, Spread, Tiled
from gradloom.plan.parts import parts_of
from gradloom.plan.plan import Product
from gradloom.plan.tiles import SIDE, SUMS_BYTES, TENSORS, THREADS, WARP, tile_of, tiles_for


def dealt(function, *arrays):
    """The functions of a program for a GPU, in the order of its kernels."""
    program = gl.jit(function, target="cuda-ptx").program(*arrays)
    plan = program.gpu.plan
    names = [s.code.name for kernel in plan.plan.kernels for s in kernel.stages]
    return [plan.functions[name] for name in names]


def ones(*shape):
    return np.ones(shape, np.float32)


def test_every_element_of_an_elementwise_kernel_is_an_item():
    (found,) = dealt(lambda x: x * 2 + 1, ones(30, 50))
    assert (found.count, found.lanes, found.ordered) == (1500, 1, ())


@pytest.mark.parametrize(
    ("shape", "lanes"), [((64, 8), 1), ((64, 200), WARP), ((4, 5000), BLOCK), ((2000, 5000), WARP)]
)
def test_rows_are_gone_over_by_a_thread_a_warp_or_a_block(shape, lanes):
    (found,) = dealt(lambda x: gnp.max(x, axis=1), ones(*shape))
    assert (found.count, found.lanes) == (shape[0], lanes)


def test_sums_down_columns_leave_a_column_to_a_thread_where_there_are_many():
    (found,) = dealt(lambda x: gnp.sum(x, axis=0), ones(100, 5000))
    assert (found.count, found.lanes) == (5000, 1)


def test_sums_down_fewer_columns_leave_neighbours_to_a_warp():
    (found,) = dealt(lambda x: gnp.sum(x, axis=0), ones(100, 500))
    assert (found.across, found.lanes, found.grain) == (True, THREADS // WARP, WARP)
    (found,) = dealt(lambda x: gnp.sum(x, axis=0), ones(100, 5))
    assert (found.across, found.lanes) == (False, WARP)


def test_a_scatter_keeps_the_order_of_what_meets_at_one_place():
    rows = np.array([1, 2, 1])
    found = dealt(lambda x, y: x.at[rows].add(y), ones(10, 64), ones(3, 64))
    scatter = next(f for f in found if any(s.accumulate for s in f.nest.stores))
    sizes = [scatter.nest.sizes[a] for a in scatter.ordered]
    assert (scatter.count, sizes) == (64, [3])


def test_items_write_apart_or_run_in_order():
    """A store through an index alone: nothing is known to be apart, so one thread does all."""
    rows = np.array([1, 2, 1])
    found = dealt(lambda x, y: x.at[rows].add(y), ones(10), ones(3))
    scatter = next(f for f in found if any(s.picks for s in f.nest.stores))
    assert (scatter.count, scatter.lanes) == (1, 1)
    assert scatter.ordered == (0,)


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((4096, 4096, 1024), (128, 128)),
        ((1024, 1024, 1024), (128, 64)),  # one for each of 128 multiprocessors
        ((512, 512, 512), (64, 32)),
        ((256, 256, 256), (32, 32)),
        ((1 << 14, 10, 1024), (64, 16)),
        ((64, 10, 128), (16, 16)),
        ((1, 4096, 4096), (1, 32)),  # a row of 128 bytes of the long operand
        ((4096, 3, 4096), (8, 3)),  # a line of depth for each of eight warps
        ((4096, 3, 100), (32, 32)),  # but not where depth is short
    ],
)
def test_tiles_are_large_where_there_are_enough_of_them(shape, tile):
    found = tile_of(plain(*shape))
    assert (found.rows, found.columns) == tile


@pytest.mark.parametrize("precision", ["", *TENSORS])
def test_every_warp_has_a_share_of_a_tile(precision):
    for tile in tiles_for("float32", precision):
        assert tile.rows % SIDE == tile.columns % SIDE == tile.depth % SIDE == 0
        assert tile.rows * tile.columns <= THREADS * SUMS_BYTES // 4
    assert max(t.rows * t.columns for t in tiles_for("float64")) == 128 * 64


@pytest.mark.parametrize(
    ("precision", "dtype", "found"),
    [
        ("highest", "float32", ""),
        ("float32", "float32", ""),
        ("tensorfloat32", "float32", "tensorfloat32"),
        ("bfloat16", "float32", "bfloat16"),
        ("bfloat16", "float64", ""),
    ],
)
def test_tensor_cores_multiply_float32_where_that_is_asked_for(precision, dtype, found):
    x = ones(40, 50).astype(dtype)
    compiled = gl.jit(lambda x, y: x @ y, target="cuda-ptx", precision=precision)
    tiled = next(iter(compiled.program(x, x.T).gpu.plan.functions.values()))
    assert tiled.precision == found
    assert (f"products in {precision}" in compiled.explain(x, x.T)) == bool(found)
    assert ("mma.sync" in compiled.ptx(x, x.T)) == bool(found)


def plain(rows, columns, depth, dtype="float32"):
    strides = (depth, 1), (columns, 1), (columns, 1)
    return Product("p", dtype, (), rows, columns, (depth,), *strides)


def test_few_blocks_have_large_tiles():
    few, many = tile_of(plain(64, 128, 64), blocks=8), tile_of(plain(64, 128, 64))
    assert few.rows * few.columns > many.rows * many.columns
    assert few.rows * few.columns == 64 * 128 // 8


def test_small_results_of_long_sums_are_made_in_parts():
    assert parts_of(plain(16, 16, 1 << 15)) == 128  # one for each of the multiprocessors
    assert parts_of(plain(512, 512, 1 << 12)) == 4  # fewer, of larger tiles
    assert parts_of(plain(2048, 2048, 1 << 15)) == 1  # tiles enough
    assert parts_of(plain(16, 16, 127 * 2)) == 1  # too shallow
    found = dealt(lambda x: x.T @ x, ones(1 << 14, 16))
    assert isinstance(found[0], Tiled)
    assert found[0].product.batch == (128,)
    assert isinstance(found[1], Spread)


def test_stages_between_two_meetings_begin_with_different_blocks():
    params = [ones(8, 5), ones(5), ones(5, 3), ones(3)]

    def loss(params, x):
        w, b, v, c = params
        return gnp.sum((gnp.tanh(x @ w + b) @ v + c) ** 2)

    step = gl.train_step(loss, gl.optim.adam(0.1), target="cuda-ptx")
    program = step.program(step.init(params), ones(4, 8))
    device = program.gpu.plan
    together: list[list[int]] = [[]]
    for stage in (stage for kernel in device.plan.kernels for stage in kernel.stages):
        if stage.barrier:
            together.append([])
        together[-1].append(stage.phase)
    assert max(map(len, together)) > 2
    for phases in together:
        assert len(set(phases)) == len(phases)
    assert device.width > device.grains
