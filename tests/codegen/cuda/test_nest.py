"""Nests of a GPU: threads that take neighbours together, and how wide their accesses are."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from tests import ptx
from tests.gpus import Simulated

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings

RNG = np.random.default_rng(5)


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


def chain(x, y):
    return gl.nn.relu(x + y) * x


def compared(x, y):
    return x > y, gnp.where(x > 0, x, y)


def normed(x, y):
    return (x - gnp.mean(x, 1, keepdims=True)) / gnp.std(x, 1, keepdims=True) * y


CASES = {
    "elements": (chain, [normal(100, 96), normal(100, 96)], 4, 4),
    "a rest of one": (chain, [normal(97, 97), normal(97, 97)], 4, 4),
    "a row repeated": (chain, [normal(128, 96), normal(96)], 4, 4),
    "a column repeated": (chain, [normal(128, 96), normal(128, 1)], 4, 4),
    "float64": (chain, [normal(128, 96, dtype="float64"), normal(96, dtype="float64")], 2, 2),
    "bytes beside numbers": (compared, [normal(100, 96), normal(100, 96)], 4, 4),
    "rows of a warp": (normed, [normal(3, 132), normal(132)], 4, 4),
    "rows of a block": (normed, [normal(2, 2052), normal(2052)], 4, 4),
    "rows that begin anywhere": (normed, [normal(3, 134), normal(134)], 1, 0),
    "columns that begin anywhere": (chain, [normal(100, 98), normal(98)], 1, 0),
    "few elements": (chain, [normal(50, 96), normal(50, 96)], 1, 0),
}


def program(function: Callable, *arrays: np.ndarray):
    with settings(disable=("persistent",)):
        return gl.jit(function, target="cuda-ptx").program(*arrays)


@pytest.mark.parametrize("case", CASES)
def test_neighbours_are_taken_together(case):
    function, arrays, width, vector = CASES[case]
    found = program(function, *arrays).gpu
    (spread,) = found.plan.functions.values()
    assert spread.width == width
    accesses = {int(n) for n in re.findall(r"(?:ld|st)\.global\.v(\d)", found.ptx.text)}
    assert accesses == ({vector} if vector else set())
    wanted = gl.jit(function)(*arrays)
    for blocks in (1, 3):
        with using(Simulated(blocks=blocks)):
            got = gl.jit(function, device="cuda")(*arrays)
        for one, other in zip(*map(_several, (got, wanted)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


def _several(found) -> list[np.ndarray]:
    return [np.asarray(x) for x in (found if isinstance(found, tuple) else (found,))]


def test_with_much_to_do_a_thread_has_several_groups_in_flight():
    """Looked at as text: so many elements take long on the interpreter."""
    many = np.ones((1024, 1024), np.float32)
    (spread,) = program(chain, many, many).gpu.plan.functions.values()
    assert spread.at_once == 4
    few = np.ones((512, 256), np.float32)
    (spread,) = program(chain, few, few).gpu.plan.functions.values()
    assert spread.at_once == 1


@pytest.mark.parametrize("case", ["elements", "a rest of one", "rows of a warp"])
@pytest.mark.parametrize("shift", [0, 4, 8])
def test_arrays_may_begin_anywhere(case, shift):
    """The same bits wherever the arrays lie."""
    function, arrays, _, _ = CASES[case]
    code = program(function, *arrays).gpu.ptx
    module, memory = ptx.load(code.text), ptx.Memory()

    def placed(array: np.ndarray, shift: int = 0) -> int:
        place = memory.allocate(array.nbytes + shift) + shift
        memory.fill(place, array)
        return place

    places = [placed(array, shift) for array in (*arrays, np.zeros_like(arrays[0]))]
    table, control = np.array(places, np.int64), np.zeros(64, np.int64)
    (name,) = module.names
    given = [placed(table), 0, placed(control)]
    shared = code.shared_bytes[name]
    module.launch(name, grid=2, block=256, args=given, shared=shared, memory=memory)
    got = memory.download(places[-1], arrays[0].shape, np.float32)
    with using(Simulated()):
        assert got.tobytes() == np.asarray(gl.jit(function, device="cuda")(*arrays)).tobytes()


@pytest.mark.parametrize("shape", [(40, 70), (9, 32), (300, 17)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
def test_rows_that_lie_across_are_read_by_neighbours(shape, dtype):
    """Sums down columns: each warp reads neighbouring columns of rows of its own."""
    x = normal(*shape).astype(dtype) if dtype != "bool" else RNG.random(shape) < 0.1

    def down(x):
        return (gnp.any(x, 0),) if dtype == "bool" else (gnp.sum(x * 2, 0), gnp.std(x, 0))

    functions = program(down, x).gpu.plan.functions.values()
    assert all(spread.across for spread in functions)
    wanted, found = gl.jit(down)(x), []
    for blocks in (1, 2, 5):
        with using(Simulated(blocks=blocks)):
            found.append([np.asarray(y) for y in gl.jit(down, device="cuda")(x)])
    for one, other in zip(found[0], wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    for more in found[1:]:
        assert [y.tobytes() for y in more] == [y.tobytes() for y in found[0]]
