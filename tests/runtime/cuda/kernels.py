"""Kernels that tests compile."""

from importlib.util import find_spec

import pytest

from gradloom.runtime.cuda.kernel import Kernel, Primitive

NUMBA_CUDA = find_spec("numba_cuda") is not None
LINKER = find_spec("cuda") is not None and find_spec("nvidia") is not None
needs_compiler = pytest.mark.skipif(not NUMBA_CUDA, reason="numba-cuda is not installed")
needs_linker = pytest.mark.skipif(not LINKER, reason="cuda-bindings or nvJitLink is not installed")

AXPY = Kernel(
    "axpy",
    """
def axpy(x, y, a, n):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < n:
        y[i] = a * x[i] + y[i]
""",
    ("float32*", "float32*", "float32", "uint32"),
)

# A kernel with functions of its own, shared memory, a primitive, and a function in LLVM.
MANY_PARTS = Kernel(
    "many_parts",
    """
def square(v):
    return v * v

def helped(v, w):
    return square(v) + w

def many_parts(x, y, n):
    t = cuda.threadIdx.x
    i = cuda.blockIdx.x * cuda.blockDim.x + t
    kept = cuda.shared.array(64, float32)
    kept[t] = x[i]
    cuda.syncthreads()
    if i < n:
        y[i] = outside(helped(kept[63 - t], y[i]), 2.0) + half_of(x[i])
""",
    ("float32*", "float32*", "uint32"),
    most_threads=64,
    least_blocks=2,
    functions={"outside": ("float32", ("float32", "float32"))},
    llvm="""
define internal float @outside(float %x, float %y) alwaysinline {
  %sum = fadd float %x, %y
  ret float %sum
}
""",
)
HALF = Primitive("float32", ("float32",), lambda b, x: b.fmul(x, x.type(0.5)))
PRIMITIVES = {"half_of": HALF}

SCALE_PTX = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 x, .param .f32 by)
{
  .reg .b32 %r<2>; .reg .b64 %d<5>; .reg .f32 %f<4>;
  ld.param.u64 %d1, [x];
  cvta.to.global.u64 %d2, %d1;
  ld.param.f32 %f1, [by];
  mov.u32 %r1, %tid.x;
  mul.wide.u32 %d3, %r1, 4;
  add.s64 %d4, %d2, %d3;
  ld.global.f32 %f2, [%d4];
  mul.f32 %f3, %f2, %f1;
  st.global.f32 [%d4], %f3;
  ret;
}
"""
