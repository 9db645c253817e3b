import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from tests.runtime.cuda.kernels import AXPY, MANY_PARTS, PRIMITIVES, needs_compiler

from gradloom.errors import InternalError, ToolchainError
from gradloom.runtime.cuda.kernel import entries
from gradloom.runtime.cuda.toolchain import compile_kernels
from gradloom.settings import settings


@needs_compiler
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_90a", "sm_120"])
def test_kernels_have_their_own_names_and_c_arguments(arch: str):
    (ptx,) = compile_kernels([AXPY, MANY_PARTS], arch, PRIMITIVES)
    assert f".target {arch}\n" in ptx
    assert entries(ptx) == {"axpy": "QQfI", "many_parts": "QQI"}
    assert ".maxntid 64" in ptx
    assert ".minnctapersm 2" in ptx
    assert "NumbaEnv" not in ptx
    assert "call" not in ptx  # helpers, primitives and functions in LLVM are inlined


@needs_compiler
def test_products_and_sums_are_contracted_if_that_is_wanted():
    fused = compile_kernels([AXPY], "sm_90", {})[0]
    apart = compile_kernels([AXPY], "sm_90", {}, contract=False)[0]
    assert "fma.rn.f32" in fused
    assert "fma.rn.f32" not in apart


@needs_compiler
def test_the_same_text_in_every_process():
    script = (
        "from tests.runtime.cuda.kernels import *\n"
        "from gradloom.runtime.cuda.toolchain import compile_kernels\n"
        "{}print(compile_kernels([AXPY, MANY_PARTS], 'sm_90', PRIMITIVES)[0])"
    )
    other = "compile_kernels([AXPY], 'sm_80', {});"  # Numba counts what it has compiled
    texts = {
        subprocess.run(
            [sys.executable, "-c", script.format(before)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for before in ("", other)
    }
    assert len(texts) == 1


@needs_compiler
def test_numpy_has_what_it_had():
    before = hasattr(np, "row_stack")
    compile_kernels([AXPY], "sm_90", {})
    assert hasattr(np, "row_stack") == before


@needs_compiler
def test_a_kernel_that_is_wrong_is_shown():
    wrong = replace(AXPY, source=AXPY.source.replace("a * x[i]", "a.nothing"))
    with pytest.raises(InternalError, match=r"does not compile[\s\S]*a\.nothing"):
        compile_kernels([wrong], "sm_90", {})
    wrong = replace(MANY_PARTS, llvm=MANY_PARTS.llvm.replace("fadd", "fnothing"))
    with pytest.raises(InternalError, match=r"NVVM refuses[\s\S]*fnothing"):
        compile_kernels([wrong], "sm_90", PRIMITIVES)


def test_an_architecture_has_a_name():
    with pytest.raises(ToolchainError, match=r"'9\.0' is no architecture"):
        compile_kernels([AXPY], "9.0", {})


@pytest.mark.skipif(find_spec("numba_cuda") is not None, reason="numba-cuda is installed")
def test_without_a_compiler_there_is_a_repair():
    with pytest.raises(ToolchainError, match=r"repair: pip install \"gradloom\[cuda\]\""):
        compile_kernels([AXPY], "sm_90", {})


@pytest.mark.skipif(find_spec("numba_cuda_mlir") is None, reason="numba-cuda-mlir is not installed")
def test_the_other_compiler():
    with settings(cuda_compiler="numba-cuda-mlir"):
        texts = compile_kernels([replace(AXPY, most_threads=128)], "sm_90", PRIMITIVES)
        assert [entries(text) for text in texts] == [{"axpy": "QQfI"}]
        assert ".maxntid 128" in texts[0]
        with pytest.raises(ToolchainError, match="GRADLOOM_CUDA_COMPILER=numba-cuda"):
            compile_kernels([MANY_PARTS], "sm_90", PRIMITIVES)


def test_the_other_compiler_is_asked_for_by_name():
    if find_spec("numba_cuda_mlir") is not None:
        pytest.skip("numba-cuda-mlir is installed")
    with (
        settings(cuda_compiler="numba-cuda-mlir"),
        pytest.raises(ToolchainError, match="numba-cuda-mlir cannot be imported"),
    ):
        compile_kernels([AXPY], "sm_90", {})
