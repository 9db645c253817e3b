import pytest

from gradloom.errors import InternalError
from gradloom.runtime.cuda.kernel import Kernel, Resources, entries, layout, read_resources

LOG = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
ptxas         .     16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 13 registers, used 1 barriers, 256 bytes smem
ptxas info    : Function properties for called
ptxas         .     99 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
info    : Function properties for 'second':
info    : used 40 registers, used 0 barriers, 0 stack, 1280 bytes smem, 552 bytes cmem[0]
"""


def test_types_of_arguments():
    assert layout("float64") == ("d", 8)
    assert layout("uint8*") == ("Q", 8)
    for wrong in ("float16", "float", "float32**", "*"):
        with pytest.raises(InternalError, match="unknown type"):
            layout(wrong)
    with pytest.raises(InternalError, match="'array'"):
        Kernel("k", "def k(x): pass", ("array",))


def test_what_a_kernel_depends_on():
    kernel = Kernel("k", "def k(x): pass", ("float32*",))
    others = [
        Kernel("j", "def k(x): pass", ("float32*",)),
        Kernel("k", "def k(x): pass ", ("float32*",)),
        Kernel("k", "def k(x): pass", ("float64*",)),
        Kernel("k", "def k(x): pass", ("float32*",), most_threads=64),
        Kernel("k", "def k(x): pass", ("float32*",), functions={"f": ("void", ())}),
        Kernel("k", "def k(x): pass", ("float32*",), llvm="; nothing"),
    ]
    assert len({kernel.content, *(other.content for other in others)}) == 7


def test_what_ptx_says_of_its_kernels():
    ptx = """
.visible .entry one(
    .param .u64 .ptr .global .align 16 x,
    .param .b64 y, .param .f64 a, .param .s32 n
)
.maxntid 64 { ret; }
.func (.param .b32 r) helper(.param .b32 x) { ret; }
.entry none() { ret; }
"""
    assert entries(ptx) == {"one": "QQdi", "none": ""}
    with pytest.raises(InternalError, match="neither number nor address"):
        entries(".entry k(.param .align 8 .b8 x[16]) { ret; }")


def test_what_the_linker_says():
    found = read_resources(LOG, ("first", "second"))
    assert found["first"] == Resources(13, 16, 8, 12, 256, 1)
    assert found["second"] == Resources(40, 0, 0, 0, 1280, 0)
    with pytest.raises(InternalError, match="says nothing of third"):
        read_resources(LOG, ("first", "third"))
