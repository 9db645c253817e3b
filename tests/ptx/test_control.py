"""Control flow: threads that go different ways, meet again, call, wait and spin."""

import numpy as np
import pytest

from tests.ptx import PtxError, load
from tests.ptx.snippets import HEAD, REGISTERS, kernel, module, run

STORE = "add.s64 %d1, %d40, %d60;\nst.global.u32 [%d1], %r1;\n"


def test_loops_of_different_lengths():
    """Collatz: every thread leaves the loop at a time of its own."""
    out = np.zeros(100, np.uint32)
    counters = run(
        """
        add.u32 %r2, %r61, 1;
        mov.u32 %r1, 0;
        $loop:
        setp.eq.u32 %p1, %r2, 1;
        @%p1 bra $done;
        and.b32 %r3, %r2, 1;
        setp.eq.u32 %p2, %r3, 0;
        @%p2 bra $even;
        mad.lo.u32 %r2, %r2, 3, 1;
        bra.uni $next;
        $even:
        shr.u32 %r2, %r2, 1;
        $next:
        add.u32 %r1, %r1, 1;
        bra $loop;
        $done:
        """
        + STORE,
        out,
        grid=2,
        block=50,
    )

    def steps(n):
        return 0 if n == 1 else 1 + steps(n // 2 if n % 2 == 0 else 3 * n + 1)

    assert out.tolist() == [steps(n) for n in range(1, 101)]
    assert counters.count("shr") + counters.count("mad.lo.u32") == out.sum()


def test_jumps_into_a_loop_and_backwards():
    """Two entries into one loop: no structured program makes this."""
    out = np.zeros(32, np.uint32)
    run(
        """
        mov.u32 %r1, 0;
        and.b32 %r2, %r60, 3;
        setp.gt.u32 %p1, %r2, 1;
        @%p1 bra $middle;
        $top:
        add.u32 %r1, %r1, 1;
        $middle:
        add.u32 %r1, %r1, 10;
        setp.eq.u32 %p2, %r2, 0;
        @%p2 bra $out;
        sub.u32 %r2, %r2, 1;
        bra $top;
        $out:
        """
        + STORE,
        out,
    )
    expected = {0: 11, 1: 22, 2: 10 + 11 + 11, 3: 10 + 33}
    assert out.tolist() == [expected[thread & 3] for thread in range(32)]


def test_switch():
    out = np.zeros(32, np.uint32)
    run(
        """
        and.b32 %r2, %r60, 3;
        $table: .branchtargets $a, $b, $c, $b;
        brx.idx %r2, $table;
        $a: mov.u32 %r1, 7; bra $end;
        $b: mov.u32 %r1, 8; bra $end;
        $c: mov.u32 %r1, 9;
        $end:
        """
        + STORE,
        out,
    )
    assert out[:4].tolist() == [7, 8, 9, 8]


CALLEE = f"""
.func (.param .b32 result) add_or_double(.param .b32 x, .param .b64 pair)
{{{REGISTERS}
    ld.param.u32 %r1, [x];
    ld.param.v2.u32 {{%r2, %r3}}, [pair];
    setp.gt.u32 %p1, %r1, 5;
    @%p1 bra $big;
    add.u32 %r1, %r1, %r2;
    st.param.b32 [result+0], %r1;
    ret;
$big:
    shl.b32 %r1, %r1, 1;
    add.u32 %r1, %r1, %r3;
    st.param.b32 [result+0], %r1;
    ret;
}}
"""


def call(value: str, result: str) -> str:
    return f"""
    {{
        .param .b32 a; .param .b64 b; .param .b32 back;
        st.param.b32 [a], {value};
        st.param.v2.b32 [b], {{%r62, %r63}};
        call.uni (back), add_or_double, (a, b);
        ld.param.b32 {result}, [back+0];
    }}
    """


def test_calls_keep_registers_apart():
    out = np.zeros(32, np.uint32)
    run(call("%r60", "%r4") + call("%r4", "%r1") + STORE, out, before=CALLEE)

    def once(x):
        return x if x <= 5 else 2 * x + 32

    assert out.tolist() == [once(once(x)) for x in range(32)]


def test_calls_under_a_guard():
    out = np.zeros(32, np.uint32)
    text = call("%r60", "%r1").replace("call.uni", "@%p3 call.uni")
    run("setp.gt.u32 %p3, %r60, 30;\n" + text + STORE, out, before=CALLEE)
    assert out[31] == 94


def test_unknown_calls_and_recursion():
    with pytest.raises(PtxError, match=r"calls vprintf, which this module lacks"):
        run("call.uni vprintf;", before=".extern .func vprintf();")
    recursive = ".func again() { call.uni again; ret; }"
    with pytest.raises(PtxError, match=r"recursion"):
        run("call.uni again;", before=recursive)


def test_a_guard_keeps_what_was():
    out = np.zeros(32, np.uint32)
    run(
        """
        mov.u32 %r1, 5;
        setp.lt.u32 %p1, %r60, 4;
        @%p1 add.u32 %r1, %r60, 100;
        add.s64 %d1, %d40, %d60;
        @!%p1 st.global.u32 [%d1], 1;
        @%p1 st.global.u32 [%d1], %r1;
        mov.u32 %r2, 77;
        @!%p1 ld.global.u32 %r2, [%d1];
        @%p1 st.global.u32 [%d1], %r2;
        """,
        out,
    )
    assert out.tolist() == [77] * 4 + [1] * 28


def test_narrow_loads_under_a_guard():
    data, out = np.arange(250, 282, dtype=np.int64).astype(np.int8), np.zeros(32, np.uint32)
    run(
        """
        mov.u32 %r1, 7;
        setp.ne.u32 %p1, %r60, 3;
        cvt.u64.u32 %d2, %r60;
        add.s64 %d2, %d2, %d41;
        @%p1 ld.global.s8 %r1, [%d2];
        """
        + STORE,
        out,
        data,
    )
    assert out.view(np.int32).tolist() == [*data[:3], 7, *data[4:]]


def test_special_registers():
    out = np.zeros((4, 2 * 4 * 3 * 5), np.uint32)
    lines = """
    mov.u32 %r1, %tid.y; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r1, %r2, %r3;
    mov.u32 %r5, %ctaid.y; mov.u32 %r6, %nctaid.x; mov.u32 %r7, %ctaid.x;
    mad.lo.u32 %r8, %r5, %r6, %r7;
    mad.lo.u32 %r9, %r8, 15, %r4;
    mul.wide.u32 %d1, %r9, 4; add.s64 %d1, %d1, %d40;
    mov.u32 %r10, %lanemask_lt;
    st.global.u32 [%d1], %r1; st.global.u32 [%d1+480], %r3;
    st.global.u32 [%d1+960], %r7; st.global.u32 [%d1+1440], %r10;
    """
    module(lines, 1).launch(grid=(2, 4), block=(3, 5), args=[out], seed=3)
    thread, block = np.arange(120) % 15, np.arange(120) // 15
    assert (out == [thread // 3, thread % 3, block % 2, (1 << thread) - 1]).all()


def random_flow(rng: np.random.Generator, size: int) -> tuple[str, list[tuple[int, int, int, int]]]:
    """Blocks that jump anywhere, by the bits of a number that each of them changes."""
    blocks = [tuple(int(v) for v in rng.integers(0, (size, size, 5, 1000))) for _ in range(size)]
    text = "mov.u32 %r1, %r61;\nmov.u32 %r2, 0;\n"
    for at, (yes, no, bit, add) in enumerate(blocks):
        text += f"""
        $B{at}:
        mad.lo.u32 %r1, %r1, 1664525, {add};
        add.u32 %r2, %r2, 1;
        setp.ge.u32 %p1, %r2, 40;
        @%p1 bra $end;
        bfe.u32 %r3, %r1, {bit + 20}, 1;
        setp.ne.u32 %p2, %r3, 0;
        @%p2 bra $B{yes};
        bra.uni $B{no};
        """
    return text + "$end:\n", blocks


@pytest.mark.parametrize("seed", range(12))
def test_any_control_flow(seed):
    """Each thread goes its way as if it were alone."""
    text, blocks = random_flow(np.random.default_rng(seed), 3 + seed)
    out = np.zeros(96, np.uint32)
    run(text + STORE, out, grid=2, block=48)
    for thread, found in enumerate(out.tolist()):
        value, at = thread, 0
        for step in range(1, 41):
            yes, no, bit, add = blocks[at]
            value = (value * 1664525 + add) % 2**32
            if step < 40:
                at = yes if value >> (bit + 20) & 1 else no
        assert found == value


# ---- progress


def test_a_spinning_thread_does_not_stop_the_others():
    """The lower lane spins, at a lower place, for what the upper lane stores later."""
    flag, out = np.zeros(1, np.uint32), np.zeros(32, np.uint32)
    run(
        """
        setp.ge.u32 %p1, %r60, 16;
        @%p1 bra $tell;
        $spin:
        ld.volatile.global.u32 %r1, [%d40];
        setp.eq.u32 %p2, %r1, 0;
        @%p2 bra $spin;
        bra $end;
        $tell:
        mov.u32 %r1, 9;
        setp.eq.u32 %p3, %r60, 20;
        @%p3 st.volatile.global.u32 [%d40], 5;
        $end:
        add.s64 %d1, %d41, %d60;
        st.global.u32 [%d1], %r1;
        """,
        flag,
        out,
    )
    assert out.tolist() == [5] * 16 + [9] * 16


@pytest.mark.parametrize("seed", [None, 0])
def test_who_works_long_without_writing_is_waited_for(seed):
    """One block spins, at a lower place, while the other counts."""
    flag = np.zeros(1, np.uint32)
    run(
        """
        setp.ne.u32 %p1, %r62, 0;
        @%p1 bra $work;
        $spin:
        ld.acquire.gpu.global.u32 %r1, [%d40];
        setp.eq.u32 %p2, %r1, 0;
        @%p2 bra $spin;
        bra $end;
        $work:
        mov.u32 %r2, 0;
        $loop:
        add.u32 %r2, %r2, 1;
        setp.lt.u32 %p3, %r2, 400;
        @%p3 bra $loop;
        st.release.gpu.global.u32 [%d40], %r2;
        $end:
        """,
        flag,
        grid=2,
        cooperative=True,
        seed=seed,
    )
    assert flag[0] == 400


def test_spinning_for_ever_is_told():
    with pytest.raises(PtxError, match=r"spin for ever: 32 threads .* line"):
        run(
            "$spin: ld.volatile.global.u32 %r1, [%d40];\nsetp.eq.u32 %p2, %r1, 0;\n@%p2 bra $spin;",
            np.zeros(1, np.uint32),
        )


def test_a_long_loop_is_not_taken_for_a_spin():
    out = np.zeros(32, np.uint32)
    lines = "mov.u32 %r1, 0;\n$l: add.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, 5000;\n@%p1 bra $l;\n"
    run(lines + STORE, out)
    assert (out == 5000).all()


# ---- refusals


def test_unknown_instructions_are_named_with_their_line():
    with pytest.raises(PtxError, match=r"line 20: frobnicate.u32 is not supported"):
        run("\nfrobnicate.u32 %r1, %r2;")
    with pytest.raises(PtxError, match=r"wgmma.fence.sync.aligned is not interpreted"):
        run("wgmma.fence.sync.aligned;")
    with pytest.raises(PtxError, match=r"bulk and tensor copies are not"):
        run("cp.async.bulk.commit_group;")


def test_wrong_launches():
    made = module("", 1)
    with pytest.raises(TypeError, match=r"takes 1 arguments, not 0"):
        made.launch("k", grid=1, block=32, args=[])
    with pytest.raises(TypeError, match=r"has 8 bytes, not 4"):
        made.launch("k", grid=1, block=32, args=[np.float32(1)])
    with pytest.raises(PtxError, match=r"blocks of 2048 threads"):
        made.launch("k", grid=1, block=2048, args=[np.zeros(4)])
    bounded = kernel("").replace("k()", "k() .maxntid 16, 4, 1 .minnctapersm 2")
    with pytest.raises(PtxError, match=r"blocks of 65 threads"):
        load(bounded).launch("k", grid=1, block=65, args=[])
    with pytest.raises(KeyError, match=r"nothing"):
        made.launch("nothing", grid=1, block=32, args=[])


def test_a_kernel_by_a_part_of_its_name():
    text = kernel("") + kernel("").replace("entry k", "entry _Z5other").replace(HEAD, "")
    assert load(text).kernel("other").name == "_Z5other"


def test_traps():
    with pytest.raises(PtxError, match=r"thread \(7, 0, 0\) of block .*: the kernel trapped"):
        run("setp.eq.u32 %p1, %r60, 7;\n@%p1 trap;")
