"""Programs whose kernels Numba's compilers make of Python text, run by the interpreter of PTX."""

from __future__ import annotations

import re
from importlib.util import find_spec

import numpy as np
import pytest
from tests import ptx
from tests.gpus import Simulated
from tests.ops.test_every_row import ELEMENTWISE, ROUGH, ULPS, named
from tests.runtime.cuda.test_entry import PROGRAMS, X, classify, layers, leaves, sums
from tests.runtime.cuda.test_every_row import assert_on, cases_of

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.codegen.cuda.text import device_text
from gradloom.errors import RangeError, ToolchainError
from gradloom.runtime.cuda.kernel import Kernel
from gradloom.runtime.cuda.machine import using
from gradloom.runtime.cuda.numba_ptx import joined
from gradloom.runtime.cuda.toolchain import compile_kernels
from gradloom.settings import settings

COMPILERS = ("numba-cuda", "numba-cuda-mlir")
# Of each row two operands, but for those whose loops take these compilers many seconds.
SAMPLED_ROWS = [row for row in ELEMENTWISE if row.cost < 100][::6]


@pytest.fixture(params=COMPILERS)
def compiler(request):
    if find_spec(request.param.replace("-", "_")) is None:
        pytest.skip(f"{request.param} is not installed")
    with settings(cuda_compiler=request.param):
        yield request.param


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_give_what_they_give_on_a_cpu(compiler, program):
    machine = Simulated()
    with using(machine):
        results = gl.jit(program, device="cuda")(X)
    assert machine.launches
    for got, want in zip(leaves(results), leaves(gl.jit(program)(X)), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("row", SAMPLED_ROWS, ids=named)
def test_elementwise_rows_are_the_reference(compiler, row):
    cases = [case for case in cases_of(row) if case[1][-1].dtype in ("float32", "int32", "bool")]
    assert_on(Simulated, cases or cases_of(row)[:1], ULPS * ROUGH.get(row.name, 1))


def test_sums_are_those_by_llvm(compiler):
    """To rounding, where LLVM's threads take neighbours together, or rows that lie across."""
    with using(Simulated()):
        found = gl.jit(sums, device="cuda")(X)
        theirs = gl.jit(sums, device="cuda").ptx(X)
        with settings(cuda_compiler="llvm"):
            wanted = gl.jit(sums, device="cuda")(X)
            assert gl.jit(sums, device="cuda").ptx(X) != theirs
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_sums_by_whole_blocks_of_every_width(compiler):
    def wide(x):
        long = gnp.concatenate([x.reshape(-1)] * 3)
        return gnp.sum(long.astype("float64")), gnp.any(long > 0.9), gnp.sum(long > 0.9)

    with using(Simulated()):
        results = gl.jit(wide, device="cuda")(X)
    for got, want in zip(results, gl.jit(wide)(X), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_training_is_training_on_a_cpu(compiler):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "f")
    y = np.array([0, 1, 1, 0])

    def trained(device):
        step = gl.train_step(classify, gl.optim.adam(5e-2), device=device)
        state = step.init(layers(2, 8, 2))
        state, losses = step.run(state, np.stack([x] * 20), np.stack([y] * 20))
        return [losses, *state.params.values()]

    with using(Simulated()):
        found = trained("cuda")
    assert found[0][-1] < found[0][0]
    for got, want in zip(found, trained("cpu"), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_stage_is_launched_on_its_own(compiler):
    """The kernels that `.kernels()` shows, without gradloom's."""
    program = gl.jit(gl.nn.softmax, target="cuda-ptx").program(X)
    text = device_text(program.gpu.plan)
    (stage,) = text.stages.values()
    source = re.sub(r"^(@|import |from ).*\n", "", text.module(), flags=re.MULTILINE)
    kernel = Kernel(f"launch_{stage.name}", source, stage.pointers, most_threads=256)
    module, memory = ptx.load(compile_kernels([kernel], "sm_90", {})[0]), ptx.Memory()
    given = [memory.upload(X), memory.allocate(X.nbytes)]
    module.launch(kernel.name, grid=3, block=256, args=given, memory=memory, races="global")
    got = memory.download(given[1], X.shape, X.dtype)
    np.testing.assert_allclose(got, gl.jit(gl.nn.softmax)(X), rtol=1e-6)


def test_an_index_out_of_range_names_the_line(compiler):
    with using(Simulated()), pytest.raises(RangeError, match=r"test_numba_ptx\.py"):
        gl.jit(lambda x, i: x[i], device="cuda")(X, np.array([1, 99]))


# ---- without a compiler


def test_tensor_cores_are_refused_with_the_line():
    with (
        settings(cuda_compiler="numba-cuda"),
        using(Simulated()),
        pytest.raises(ToolchainError, match=r"tensor cores[^$]*test_numba_ptx\.py[^$]*=llvm"),
    ):
        gl.jit(lambda x: x @ x.T, device="cuda", precision="bfloat16")(X)


@pytest.mark.parametrize("name", COMPILERS)
def test_a_compiler_that_is_not_there_is_named(name):
    if find_spec(name.replace("-", "_")) is not None:
        pytest.skip(f"{name} is installed")
    with (
        settings(cuda_compiler=name),
        using(Simulated()),
        pytest.raises(ToolchainError, match=rf"{name} cannot be imported"),
    ):
        gl.jit(gnp.tanh, device="cuda")(X)


def text_of(name: str) -> str:
    return f"""\
.version 8.0
.target sm_80
.address_size 64
.common .global .align 4 .u32 errors;
.shared .align 4 .b8 memory[128];
.visible .entry {name}(.param .u64 x)
{{
  .reg .b32 %r<4>; .reg .b64 %d<4>;
  mov.u32 %r1, {len(name)};
  st.shared.u32 [memory+4], %r1;
  ld.shared.u32 %r2, [memory+4];
  ld.param.u64 %d1, [x];
  cvta.to.global.u64 %d2, %d1;
  st.global.u32 [%d2], %r2;
  ret;
}}
"""


def test_texts_that_are_joined_keep_their_memory_apart():
    text = joined((text_of("one"), text_of("three")))
    assert text.count(".version") == 1
    assert "memory_1[128]" in text
    assert ".u32 errors_1;" in text
    module = ptx.load(text)
    for name in ("one", "three"):
        memory = ptx.Memory()
        place = memory.allocate(4)
        module.launch(name, grid=1, block=1, args=[place], memory=memory)
        assert memory.download(place, (1,), np.int32) == len(name)
