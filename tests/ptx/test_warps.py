"""Shuffles, votes and barriers."""

import numpy as np
import pytest

from tests.ptx import PtxError
from tests.ptx.snippets import module, run

STORE = "add.s64 %d1, %d40, %d60;\nst.global.u32 [%d1], %r1;\n"
LANES = np.arange(32)


def lanes(body: str, block: int = 32, **options) -> np.ndarray:
    """What each thread has in %r1 in the end."""
    out = np.zeros(block, np.uint32)
    run(body + STORE, out, block=block, **options)
    return out


@pytest.mark.parametrize(
    ("mode", "by", "clamp", "expected"),
    [
        ("down", 5, 31, np.where(LANES + 5 < 32, LANES + 5, LANES)),
        ("up", 3, 0, np.where(LANES >= 3, LANES - 3, LANES)),
        ("bfly", 9, 31, LANES ^ 9),
        ("idx", 4, 31, np.full(32, 4)),
        ("down", 2, 0x181F, np.where(LANES % 8 < 6, LANES + 2, LANES)),  # segments of 8
        ("idx", 1, 0x101F, LANES // 16 * 16 + 1),
    ],
)
def test_shuffles(mode, by, clamp, expected):
    found = lanes(f"shfl.sync.{mode}.b32 %r1|%p1, %r60, {by}, {clamp}, -1;", 64)
    assert (found[:32] == expected).all()
    assert (found[32:] == expected + 32).all()


def test_the_lanes_of_a_shuffle_wait_for_each_other():
    """Half of the warp takes a long way round before it shuffles."""
    body = """
    mov.u32 %r2, %r60;
    setp.lt.u32 %p1, %r60, 16;
    @%p1 bra $here;
    mov.u32 %r3, 0;
    $loop: add.u32 %r2, %r2, 1; add.u32 %r3, %r3, 1;
    setp.lt.u32 %p2, %r3, 50; @%p2 bra $loop;
    $here:
    shfl.sync.bfly.b32 %r1, %r2, 16, 31, -1;
    """
    assert (lanes(body) == np.where(LANES < 16, LANES + 16 + 50, LANES - 16)).all()


def test_a_shuffle_that_waits_for_lanes_elsewhere():
    with pytest.raises(PtxError, match=r"deadlock: 16 threads .* wait for their warps at line"):
        lanes(
            """
            mov.u32 %r1, 0;
            setp.lt.u32 %p1, %r60, 16;
            @%p1 bra $end;
            shfl.sync.bfly.b32 %r1, %r60, 1, 31, -1;
            $end: bar.sync 0;
            """
        )


def test_partial_masks():
    body = """
    mov.u32 %r1, 99;
    setp.ge.u32 %p1, %r60, 8;
    @%p1 bra $end;
    shfl.sync.bfly.b32 %r1, %r60, 1, 31, 0xff;
    add.u32 %r2, %r1, 100;
    shfl.sync.idx.b32 %r1, %r2, 3, 31, 0xff;
    $end:
    """
    assert lanes(body).tolist() == [102] * 8 + [99] * 24


def test_a_lane_outside_of_its_mask():
    with pytest.raises(PtxError, match=r"thread \(8, 0, 0\).*its lane is not in the mask"):
        lanes("shfl.sync.bfly.b32 %r1, %r60, 1, 31, 0xff;")


def test_votes():
    ballot = "setp.lt.u32 %p1, %r60, 40; vote.sync.ballot.b32 %r1, %p1, -1;\n"
    assert lanes(ballot, 64).tolist() == [2**32 - 1] * 32 + [255] * 32
    for kind, expected in (("all", [1, 0]), ("any", [1, 1]), ("uni", [1, 0])):
        body = f"setp.lt.u32 %p1, %r60, 40; vote.sync.{kind}.pred %p2, %p1, -1;\n"
        found = lanes(body + "selp.u32 %r1, 1, 0, %p2;\n", 64)
        assert found[[0, 32]].tolist() == expected, kind


def test_match_and_redux():
    found = lanes("and.b32 %r2, %r60, 3; match.any.sync.b32 %r1, %r2, -1;\n")
    assert found[:4].tolist() == [0x11111111 << k for k in range(4)]
    assert (lanes("redux.sync.add.u32 %r1, %r60, -1;\n", 64)[[0, 63]] == [496, 1520]).all()
    assert (lanes("redux.sync.max.s32 %r1, %r60, -1;\n") == 31).all()


def test_lanes_that_have_ended_are_not_waited_for():
    body = "setp.ge.u32 %p1, %r60, 20; @%p1 ret; redux.sync.add.u32 %r1, %r60, 0xfffff;\n"
    assert lanes(body)[:20].tolist() == [190] * 20


def test_active_mask():
    body = "mov.u32 %r1, 0; setp.lt.u32 %p1, %r60, 5; @!%p1 bra $e; activemask.b32 %r1; $e:\n"
    assert lanes(body)[:6].tolist() == [31] * 5 + [0]


# ---- barriers

EXCHANGE = """
    shl.b32 %r2, %r60, 2;
    mov.u32 %r3, tile;
    add.u32 %r3, %r3, %r2;
    st.shared.u32 [%r3], %r60;
    {barrier}
    mov.u32 %r4, tile;
    sub.u32 %r5, 508, %r2;
    add.u32 %r4, %r4, %r5;
    ld.shared.u32 %r1, [%r4];
"""
TILE = ".shared .align 4 .b8 tile[512];\n"


@pytest.mark.parametrize(
    "barrier", ["bar.sync 0;", "barrier.sync.aligned 3, 128;", "bar.sync %r62;"]
)
def test_block_barriers(barrier):
    out = np.zeros(384, np.uint32)
    run(EXCHANGE.format(barrier=barrier) + STORE, out, grid=3, block=128, before=TILE)
    assert (out.reshape(3, 128) == np.arange(128)[::-1]).all()


def test_barriers_with_a_vote():
    body = "setp.lt.u32 %p1, %r60, 50;\nbar.red.popc.u32 %r1, 0, %p1;\n"
    assert (lanes(body, 96) == 50).all()
    body = "setp.lt.u32 %p1, %r60, 50; bar.red.and.pred %p2, 0, %p1; selp.u32 %r1, 1, 0, %p2;\n"
    assert (lanes(body, 96) == 0).all()
    assert (lanes(body, 32) == 1).all()


def test_named_barriers_of_producers_and_consumers():
    """The first warp writes and only arrives, the second waits for it."""
    body = """
    shl.b32 %r2, %r60, 2; and.b32 %r2, %r2, 127;
    mov.u32 %r3, tile; add.u32 %r3, %r3, %r2;
    setp.lt.u32 %p1, %r60, 32;
    @%p1 bra $produce;
    bar.sync 1, 64;
    ld.shared.u32 %r1, [%r3];
    bra $end;
    $produce:
    add.u32 %r1, %r60, 7;
    st.shared.u32 [%r3], %r1;
    bar.arrive 1, 64;
    $end:
    """
    assert (lanes(body, 64, before=TILE) == np.tile(LANES + 7, 2)).all()


def test_threads_that_ended_do_not_hold_a_barrier():
    body = "setp.ge.u32 %p1, %r60, 64; @%p1 ret; bar.sync 0; mov.u32 %r1, 3;\n"
    assert lanes(body, 128).tolist() == [3] * 64 + [0] * 64


def test_a_barrier_that_some_never_reach():
    body = """
    mov.u32 %r1, 0;
    setp.lt.u32 %p1, %r60, 32; @%p1 bra $other;
    bar.sync 0; bra $end;
    $other: bar.sync 1;
    $end:
    """
    match = (
        r"deadlock: 32 threads .* wait at barrier [01] at line .*; 32 threads .* wait at barrier"
    )
    with pytest.raises(PtxError, match=match):
        lanes(body, 64)


def test_a_grid_barrier():
    """Blocks exchange through global memory, in any order, in one cooperative launch."""
    body = """
    add.s64 %d1, %d41, %d60;
    st.global.u32 [%d1], %r61;
    bar.sync 0;
    setp.ne.u32 %p1, %r60, 0;
    @%p1 bra $wait;
    fence.acq_rel.gpu;
    atom.add.relaxed.gpu.global.u32 %r2, [%d42], 1;
    $spin:
    ld.acquire.gpu.global.u32 %r2, [%d42];
    setp.lt.u32 %p2, %r2, 5;
    @%p2 bra $spin;
    $wait:
    bar.sync 0;
    sub.u32 %r3, 319, %r61;
    mul.wide.u32 %d2, %r3, 4;
    add.s64 %d2, %d2, %d41;
    ld.global.u32 %r1, [%d2];
    """
    made = module(body + STORE, 3)
    for seed in (None, 1, 2):
        out, between, count = (np.zeros(n, np.uint32) for n in (320, 320, 1))
        options = {"cooperative": True, "races": "global", "seed": seed}
        made.launch("k", grid=5, block=64, args=[out, between, count], **options)
        assert (out == np.arange(320)[::-1]).all()
    with pytest.raises(PtxError, match=r"spin for ever"):
        made.launch(
            *("k",), grid=5, block=64, args=[out, between, np.zeros(1, np.uint32)], resident=128
        )
