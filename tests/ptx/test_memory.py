"""Accesses: spaces, bounds, alignment, atomics, and memory that outlives a launch."""

import numpy as np
import pytest

from tests.ptx import Memory, PtxError, load
from tests.ptx.snippets import kernel, module, run

RNG = np.random.default_rng(4)
STORE = "add.s64 %d1, %d40, %d60;\nst.global.u32 [%d1], %r1;\n"
TILE = ".shared .align 16 .b8 tile[128];\n.shared .align 4 .b8 other[64];\n"
AT = "shl.b32 %r2, %r60, 2;\nmov.u32 %r3, tile;\nadd.u32 %r3, %r3, %r2;\n"


# ---- faults


def test_one_element_too_far_is_found():
    body = "add.s64 %d1, %d40, %d60;\nld.global.u32 %r1, [%d1+4];\nst.global.u32 [%d1], %r1;\n"
    match = (
        r"k line 21: ld.global.u32 %r1, \[%d1\+4\];\n.*thread \(31, 0, 0\) of block \(1, 0, 0\): "
        r"4 bytes at global address 0x.*: byte 256 of argument 0, which has 256"
    )
    with pytest.raises(PtxError, match=match):
        run(body, np.zeros(64, np.uint32), grid=2)


def test_one_byte_too_far_is_found():
    body = "cvt.u64.u32 %d1, %r60;\nadd.s64 %d1, %d1, %d40;\nst.global.u8 [%d1], 1;\n"
    run(body, np.zeros(32, np.uint8))
    with pytest.raises(PtxError, match=r"byte 31 of argument 0, which has 31"):
        run(body, np.zeros(31, np.uint8))


def test_null_and_wild_pointers():
    with pytest.raises(PtxError, match=r"global address 0x0: a null pointer"):
        run("ld.global.u32 %r1, [%d40];", 0)
    with pytest.raises(PtxError, match=r"ld.global.u32"):
        run("ld.global.u32 %r1, [%d40];", -(2**40))
    with pytest.raises(PtxError, match=r"is no address"):
        run("ld.u32 %r1, [%d40];", 1 << 60)


def test_misaligned_vectors():
    body = "add.s64 %d1, %d40, %d60;\nld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%d1];\n"
    with pytest.raises(PtxError, match=r"thread \(1, 0, 0\).* is not a multiple of 16"):
        run(body, np.zeros(64, np.float32))


def test_shared_memory_ends_where_its_variable_ends():
    run(AT + "st.shared.u32 [%r3], 1;", before=TILE)
    with pytest.raises(PtxError, match=r"thread \(31, 0, 0\).*touches .*byte 128 of tile"):
        run(AT + "st.shared.u32 [%r3+4], 1;", before=TILE)
    with pytest.raises(PtxError, match=r"shared address 0x800000"):
        run(AT + "st.shared.u32 [%r3+8388608], 1;", before=TILE)


def test_shared_memory_that_nobody_wrote():
    half = "setp.lt.u32 %p1, %r60, 20;\n@%p1 st.shared.u32 [%r3], 1;\nbar.sync 0;\n"
    match = r"thread \(20, 0, 0\).*reads .*byte 80 of tile.*nobody wrote"
    with pytest.raises(PtxError, match=match):
        run(AT + half + "ld.shared.u32 %r1, [%r3];", before=TILE)


def test_too_much_shared_memory():
    with pytest.raises(PtxError, match=r"too many"):
        run("", before=".shared .align 4 .b8 big[50000];\n")


def test_memory_that_was_freed():
    memory = Memory()
    pointer = memory.upload(np.zeros(4, np.uint32))
    memory.free(pointer)
    with pytest.raises(PtxError, match=r"ld.global.u32"):
        run("ld.global.u32 %r1, [%d40];", pointer, memory=memory)
    with pytest.raises(ValueError, match=r"not the start of an allocation"):
        memory.free(pointer)


# ---- spaces


def test_generic_addresses_of_three_spaces():
    """Each third of the threads points elsewhere with one instruction."""
    data, out = RNG.integers(0, 99, 32).astype(np.uint32), np.zeros(32, np.uint32)
    body = (
        """
    .local .align 8 .b8 depot[16];
    mov.u64 %d2, depot;
    cvta.local.u64 %d3, %d2;
    add.u32 %r4, %r60, 1000;
    st.u32 [%d3+8], %r4;
    """
        + AT
        + """
    add.u32 %r4, %r60, 2000;
    st.shared.u32 [%r3], %r4;
    cvt.u64.u32 %d4, %r3;
    cvta.shared.u64 %d4, %d4;
    add.s64 %d5, %d41, %d60;
    rem.u32 %r5, %r60, 3;
    add.s64 %d6, %d3, 8;
    setp.eq.u32 %p1, %r5, 1;
    selp.b64 %d6, %d4, %d6, %p1;
    setp.eq.u32 %p2, %r5, 2;
    selp.b64 %d6, %d5, %d6, %p2;
    ld.u32 %r1, [%d6];
    st.u32 [%d6], 5;
    ld.u32 %r6, [%d6];
    isspacep.shared %p3, %d6;
    selp.u32 %r7, 7, 0, %p3;
    add.u32 %r1, %r1, %r7;
    """
    )
    before = data.copy()
    run(body + STORE, out, data, before=TILE)
    i = np.arange(32)
    assert (out == np.choose(i % 3, [i + 1000, i + 2007, before])).all()
    assert (data == np.where(i % 3 == 2, 5, before)).all()


def test_constants_and_global_variables():
    before = (
        ".const .align 4 .f32 factor[2] = {0f40000000, 0f40400000};\n"
        ".global .align 4 .u32 counter = 5;\n.global .u64 where = counter;\n"
    )
    body = """
    ld.const.f32 %f1, [factor+4];
    cvt.rzi.u32.f32 %r1, %f1;
    ld.global.u64 %d2, [where];
    atom.add.u32 %r2, [%d2], 1;
    mad.lo.u32 %r1, %r1, 100, %r2;
    """
    made, memory = module(body + STORE, 1, before), Memory()
    out = np.zeros(32, np.uint32)
    for already in (5, 37):  # the variable keeps its value between launches in one memory
        made.launch("k", grid=1, block=32, args=[out], memory=memory)
        assert sorted(out.tolist()) == list(range(300 + already, 332 + already))


def test_memory_between_launches():
    memory = Memory()
    pointer = memory.upload(np.arange(32, dtype=np.uint32))
    body = "add.s64 %d1, %d40, %d60;\nld.global.u32 %r1, [%d1];\nadd.u32 %r1, %r1, 1;\n"
    for _ in range(3):
        run(body + "st.global.u32 [%d1], %r1;", pointer, memory=memory)
    assert (memory.download(pointer, (32,), np.uint32) == np.arange(3, 35)).all()
    memory.fill(pointer, np.ones(2, np.uint32))
    assert memory.download(pointer, (3,), np.uint32).tolist() == [1, 1, 5]
    with pytest.raises(ValueError, match=r"132 bytes"):
        memory.download(pointer, (33,), np.uint32)


def test_parameters_by_generic_address():
    body = """
    mov.b64 %d1, p1; cvta.param.u64 %d2, %d1;
    ld.u64 %d3, [%d2];
    cvt.u32.u64 %r1, %d3;
    """
    out = np.zeros(32, np.uint32)
    run(body + STORE, out, 1234)
    assert (out == 1234).all()


def test_arrays_that_may_not_be_written_are_not():
    data, out = np.arange(32, dtype=np.uint32), np.zeros(32, np.uint32)
    data.flags.writeable = False
    run("add.s64 %d2, %d41, %d60;\nld.global.u32 %r1, [%d2];\n" + STORE, out, data)
    assert (out == data).all()


def test_dynamic_shared_memory():
    body = AT.replace("tile", "dynamic") + "st.shared.u32 [%r3], 1;\n"
    before = ".extern .shared .align 16 .b8 dynamic[];\n"
    run(body, before=before, shared=128)
    with pytest.raises(PtxError, match=r"byte 124 of dynamic, which has 124"):
        run(body, before=before, shared=124)


def test_parameters_of_several_sizes():
    text = kernel("").replace(
        "entry k()",
        "entry k(.param .u64 p0, .param .f32 x, .param .align 8 .b8 s[16], .param .u8 b)",
    )
    body = (
        "ld.param.u64 %d40, [p0]; ld.param.f32 %f1, [x]; ld.param.v2.u32 {%r1, %r2}, [s+8];\n"
        "ld.param.u8 %r3, [b]; st.global.f32 [%d40], %f1; st.global.u32 [%d40+4], %r2;\n"
        "st.global.u32 [%d40+8], %r3;\nret;\n"
    )
    out = np.zeros(3, np.float32)
    structure = np.int64([3, 7 << 32]).tobytes()
    args = [out, np.float32(2.5), structure, np.uint8(200)]
    load(text.replace("    ret;", body)).launch("k", grid=1, block=1, args=args)
    assert out[0] == 2.5
    assert out.view(np.uint32)[1:].tolist() == [7, 200]


# ---- atomics


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [
        ("red.global.add.u32 [%d40], %r61;", "u4", 64 * 63 // 2 + 3),
        ("atom.global.add.u32 %r1, [%d40], %r61;", "u4", 64 * 63 // 2 + 3),
        ("atom.global.max.u32 _, [%d40], %r61;", "u4", 63),
        ("red.global.min.s32 [%d40], %r61;", "i4", 0),
        ("red.global.or.b32 [%d40], %r61;", "u4", 63),
        ("red.global.xor.b32 [%d40], 1;", "u4", 3),
        ("red.global.inc.u32 [%d40], 9;", "u4", (3 + 64) % 10),
        ("red.global.add.u64 [%d40], 2;", "u8", 131),
        ("cvt.rn.f32.u32 %f1, %r61; red.global.add.f32 [%d40], %f1;", "f4", 2019),
        ("cvt.rn.f64.u32 %g1, %r61; atom.global.add.f64 %g2, [%d40], %g1;", "f8", 2019),
    ],
)
def test_atomics(line, kind, expected):
    memory = np.array([3], kind)
    run(line, memory, grid=2)
    assert memory[0] == expected


def test_atomics_give_each_thread_what_it_found():
    counter, out = np.zeros(1, np.uint32), np.zeros(128, np.uint32)
    body = "atom.global.add.u32 %r1, [%d41], 1;\n" + STORE
    run(body, out, counter, grid=4)
    assert sorted(out.tolist()) == list(range(128))


def test_compare_and_swap_as_a_lock():
    """A float maximum by compare and swap: many rounds, each won by one thread."""
    data = RNG.standard_normal(64).astype(np.float32)
    best = np.float32([-10])
    body = """
    add.s64 %d1, %d41, %d60;
    ld.global.f32 %f1, [%d1];
    ld.relaxed.gpu.global.b32 %r1, [%d40];
    $again:
    mov.b32 %f2, %r1;
    max.f32 %f3, %f1, %f2;
    mov.b32 %r2, %f3;
    atom.global.cas.b32 %r3, [%d40], %r1, %r2;
    setp.ne.u32 %p1, %r3, %r1;
    mov.u32 %r1, %r3;
    @%p1 bra $again;
    """
    run(body, best, data, grid=2)
    assert best[0] == data.max()


def test_packed_atomics():
    memory = np.float16([1, 2])
    one = int(np.float16([0.5, 0.25]).view(np.uint32)[0])
    run(f"mov.b32 %r1, {one};\nred.global.add.noftz.f16x2 [%d40], %r1;", memory, block=8)
    assert memory.tolist() == [5, 4]


def test_shared_atomics():
    out = np.zeros(32, np.uint32)
    body = """
    mov.u32 %r3, tile;
    setp.eq.u32 %p1, %r60, 0;
    @%p1 st.shared.u32 [%r3], 0;
    bar.sync 0;
    atom.shared.add.u32 %r2, [%r3], %r60;
    bar.sync 0;
    ld.shared.u32 %r1, [%r3];
    """
    run(body + STORE, out, before=TILE)
    assert (out == 496).all()
