"""Faults put into right kernels: each is found, and the right kernels pass."""

import numpy as np
import pytest

from tests.ptx import PtxError
from tests.ptx.races import RaceError, Races
from tests.ptx.snippets import run

TILE = ".shared .align 16 .b8 tile[1024];\n"
AT = "shl.b32 %r2, %r60, 2;\nmov.u32 %r3, tile;\nadd.u32 %r3, %r3, %r2;\n"
STORE = "add.s64 %d1, %d40, %d60;\nst.global.u32 [%d1], %r1;\n"


def rotate(barrier: str, by: int, again: str = "") -> str:
    """Each thread writes its own cell and reads that of a neighbour."""
    return (
        AT
        + f"""
    st.shared.u32 [%r3], %r60;
    {barrier}
    add.u32 %r4, %r60, {by};
    rem.u32 %r4, %r4, %r63;
    shl.b32 %r4, %r4, 2;
    mov.u32 %r5, tile;
    add.u32 %r5, %r5, %r4;
    ld.shared.u32 %r1, [%r5];
    {again}
    """
        + STORE
    )


def test_a_removed_barrier_between_write_and_read():
    out = np.zeros(64, np.uint32)
    run(rotate("bar.sync 0;", 32), out, block=64, before=TILE)
    assert (out == np.roll(np.arange(64), -32)).all()
    match = (
        r"line 32: ld.shared.u32 .*\n  thread \(0, 0, 0\) of block .*: race: "
        r"thread \(32, 0, 0\) of block .* wrote shared address 0x80 \(byte 128 of tile.*no barrier"
    )
    with pytest.raises(PtxError, match=match):
        run(rotate("", 32), out, block=64, before=TILE)
    run(rotate("", 32), out, block=64, before=TILE, races=False)


def test_a_removed_barrier_between_read_and_write():
    out = np.zeros(64, np.uint32)
    again = "st.shared.u32 [%r3], %r1;"
    run(rotate("bar.sync 0;", 40, "bar.sync 0;\n" + again), out, block=64, before=TILE)
    with pytest.raises(PtxError, match=r"st.shared.u32 .*\n.*race: thread .* read shared"):
        run(rotate("bar.sync 0;", 40, again), out, block=64, before=TILE)


def test_many_readers_and_then_a_writer():
    """All read one cell; then its writer may not write without a barrier."""
    body = """
    mov.u32 %r3, tile;
    setp.eq.u32 %p1, %r60, 40;
    @%p1 st.shared.u32 [%r3], 7;
    bar.sync 0;
    ld.shared.u32 %r1, [%r3];
    {barrier}
    @%p1 st.shared.u32 [%r3], 8;
    """
    run(body.format(barrier="bar.sync 0;"), block=64, before=TILE)
    with pytest.raises(PtxError, match=r"race"):
        run(body.format(barrier=""), block=64, before=TILE)


def meeting(races: Races, *warps: int) -> None:
    """Warps that meet at a barrier."""
    everyone = np.array(warps)
    races.meet(everyone, np.zeros_like(everyone), np.ones(everyone.size, np.bool_))


def reads(races: Races, thread: int, writes: bool = False) -> None:
    """A thread reads, or writes, cell 0."""
    races.access(np.array([thread]), np.array([0]), writes, strong=False)


@pytest.mark.parametrize("others", [[], [0], [1], [0, 1]])
def test_a_writer_must_know_of_each_reader(others):
    """Two that read at different times; the third warp meets some of them, each on its own."""
    races = Races(threads=96, columns=3, cells=1)
    for reader in (0, 1):
        reads(races, 32 * reader)
        if reader in others:
            meeting(races, reader, 2)
    if others == [0, 1]:
        reads(races, 64, writes=True)
    else:
        with pytest.raises(RaceError):
            reads(races, 64, writes=True)


def test_who_read_before_the_last_write_is_forgotten():
    races = Races(threads=96, columns=3, cells=1)
    for reader in (0, 32, 64):
        reads(races, reader)
    meeting(races, 0, 1, 2)
    reads(races, 64, writes=True)
    meeting(races, 0, 1, 2)
    reads(races, 0)
    reads(races, 32)
    meeting(races, 0, 1)
    reads(races, 0, writes=True)


def test_lanes_of_one_warp_that_read_are_told_apart():
    races = Races(threads=64, columns=2, cells=1)
    reads(races, 32)
    meeting(races, 0, 1)
    reads(races, 0)
    reads(races, 1)
    with pytest.raises(RaceError) as found:
        reads(races, 1, writes=True)
    assert found.value.other == 0


def test_readings_are_shortened_without_being_lost(monkeypatch):
    monkeypatch.setattr("tests.ptx.races.ROOM", 4)
    races = Races(threads=96, columns=3, cells=1)
    for thread in (0, 33, 0, 1, 33, 34, 0):
        reads(races, thread)
    assert races.many.size <= 8
    meeting(races, 0, 2)
    with pytest.raises(RaceError) as found:
        reads(races, 64, writes=True)
    assert found.value.other in (33, 34)


def test_within_a_warp_a_warp_barrier_is_enough_and_needed():
    out = np.zeros(32, np.uint32)
    run(rotate("bar.warp.sync 0xffffffff;", 1), out, before=TILE)
    with pytest.raises(PtxError, match=r"race"):
        run(rotate("", 1), out, before=TILE)
    wide = np.zeros(64, np.uint32)
    with pytest.raises(PtxError, match=r"race"):
        run(rotate("bar.warp.sync 0xffffffff;", 32), wide, block=64, before=TILE)


def test_two_writers_at_once():
    with pytest.raises(PtxError, match=r"writes at the same time shared address 0x0"):
        run("mov.u32 %r3, tile;\nst.shared.u32 [%r3], %r60;", before=TILE)


def test_neighbouring_bytes_do_not_race():
    """Two threads write two halves of one word; a third of the kernel reads words."""
    body = """
    mov.u32 %r3, tile; shl.b32 %r2, %r60, 1; add.u32 %r3, %r3, %r2;
    cvt.u16.u32 %h1, %r60;
    st.shared.u16 [%r3], %h1;
    {barrier}
    mov.u32 %r3, tile; and.b32 %r2, %r2, 0xfffffffc; add.u32 %r3, %r3, %r2;
    ld.shared.u32 %r1, [%r3];
    """
    out = np.zeros(64, np.uint32)
    run(body.format(barrier="bar.sync 0;") + STORE, out, block=64, before=TILE)
    assert out[5] == 5 << 16 | 4
    with pytest.raises(PtxError, match=r"race"):
        run(body.format(barrier="") + STORE, out, block=64, before=TILE)


def test_a_named_barrier_orders_only_those_who_come():
    """Warps 0 and 1 meet at a barrier of their own; warp 2 reads what they wrote."""
    body = (
        AT
        + """
    st.shared.u32 [%r3], %r60;
    setp.ge.u32 %p1, %r60, 64;
    @%p1 bra $third;
    bar.sync 1, 64;
    xor.b32 %r4, %r2, 128;
    mov.u32 %r5, tile; add.u32 %r5, %r5, %r4;
    ld.shared.u32 %r1, [%r5];
    bra $end;
    $third:
    mov.u32 %r1, 0;
    {read}
    $end:
    """
    )
    run(body.format(read=""), block=96, before=TILE)
    with pytest.raises(PtxError, match=r"race: thread .0, 0, 0. of block .* wrote"):
        run(body.format(read="ld.shared.u32 %r1, [tile];"), block=96, before=TILE)


def test_atomics_do_not_race_with_each_other():
    body = """
    mov.u32 %r3, tile;
    atom.shared.exch.b32 %r1, [%r3], %r60;
    """
    with pytest.raises(PtxError, match=r"nobody wrote"):
        run(body, block=64, before=TILE)
    start = "setp.eq.u32 %p1, %r60, 0;\n@%p1 st.shared.u32 [tile], 0;\n{barrier}\n"
    run(start.format(barrier="bar.sync 0;") + body, block=64, before=TILE)
    with pytest.raises(PtxError, match=r"race"):
        run(start.format(barrier="bar.warp.sync -1;") + body, block=64, before=TILE)


def test_warps_that_have_ended_count_as_come():
    """The last warp writes and ends; the barrier of the others stands after that."""
    body = (
        AT
        + """
    st.shared.u32 [%r3], %r60;
    setp.ge.u32 %p1, %r60, 64;
    @%p1 ret;
    {barrier}
    ld.shared.u32 %r1, [tile+256];
    """
    )
    run(body.format(barrier="bar.sync 0;"), block=96, before=TILE)
    with pytest.raises(PtxError, match=r"race"):
        run(body.format(barrier=""), block=96, before=TILE)


# ---- global memory, when asked


GRID = """
    add.s64 %d1, %d40, %d60;
    st.global.u32 [%d1], %r61;
    {before}
    setp.ne.u32 %p1, %r60, 0;
    @%p1 bra $wait;
    {release}
    $spin: {acquire}
    setp.lt.u32 %p2, %r2, 4;
    @%p2 bra $spin;
    $wait:
    {after}
    sub.u32 %r3, 255, %r61;
    mul.wide.u32 %d2, %r3, 4;
    add.s64 %d2, %d2, %d40;
    ld.global.u32 %r1, [%d2];
"""
RIGHT = {
    "before": "bar.sync 0;",
    "release": "red.release.gpu.global.add.u32 [%d41], 1;",
    "acquire": "ld.acquire.gpu.global.u32 %r2, [%d41];",
    "after": "bar.sync 0;",
}


def grid(**changes: str) -> None:
    body = GRID.format(**(RIGHT | changes))
    arrays = np.zeros(256, np.uint32), np.zeros(1, np.uint32)
    run(body, *arrays, grid=4, block=64, cooperative=True, races="global")


def test_a_grid_barrier_orders_blocks():
    grid()
    grid(
        release="fence.acq_rel.gpu;\nred.relaxed.gpu.global.add.u32 [%d41], 1;",
        acquire="ld.relaxed.gpu.global.u32 %r2, [%d41];\nfence.acq_rel.gpu;",
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"before": ""},
        {"after": ""},
        {"release": "red.relaxed.gpu.global.add.u32 [%d41], 1;"},
        {"acquire": "ld.relaxed.gpu.global.u32 %r2, [%d41];"},
        # Who comes first knows nothing of the others, even if all come at once.
        {
            "release": "atom.acq_rel.gpu.global.add.u32 %r2, [%d41], 1;",
            "acquire": "mov.u32 %r2, 4;",
        },
    ],
)
def test_a_grid_barrier_with_a_part_missing(changes):
    with pytest.raises(PtxError, match=r"race: thread .* (wrote|read) global address"):
        grid(**changes)


@pytest.mark.parametrize("between", ["st.relaxed.gpu.global.u32 [%d41], 2;", "atom", ""])
def test_a_store_over_what_was_released_tells_nothing_of_it(between):
    """Block 0 releases, block 1 does this, block 2 acquires what it finds there."""
    if between == "atom":
        between = "red.relaxed.gpu.global.add.u32 [%d41], 1;"
    body = f"""
    add.s64 %d1, %d40, %d60;
    setp.ne.u32 %p1, %r62, 0;
    setp.ne.u32 %p2, %r62, 1;
    @%p1 bra $one;
    st.global.u32 [%d1], 7;
    st.release.gpu.global.u32 [%d41], 1;
    bra $end;
    $one: @%p2 bra $two;
    {between}
    bra $end;
    $two: ld.acquire.gpu.global.u32 %r1, [%d41];
    ld.global.u32 %r2, [%d1+-256];
    $end:
    """
    arrays = np.zeros(96, np.uint32), np.zeros(1, np.uint32)
    options = {"grid": 3, "block": 32, "cooperative": True, "races": "global"}
    if between.startswith("st"):
        with pytest.raises(PtxError, match="race"):
            run(body, *arrays, **options)
    else:
        run(body, *arrays, **options)


# ---- clusters

MEET = "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;"
# Each thread reads what its opposite in the cluster has written.
OPPOSITE = """
    add.s64 %d1, %d40, %d60;
    st.global.u32 [%d1], %r61;
    {meet}
    xor.b32 %r3, %r61, {other};
    mul.wide.u32 %d2, %r3, 4;
    add.s64 %d2, %d2, %d40;
    ld.global.u32 %r1, [%d2];
    {meet}
    st.global.u32 [%d1], %r1;
"""


def clustered(meet: str = MEET, other: int = 127, **options) -> np.ndarray:
    found = np.zeros(256, np.uint32)
    body = OPPOSITE.format(meet=meet, other=other)
    run(body, found, **{"grid": 4, "block": 64, "cluster": 2, "races": "global"} | options)
    return found


@pytest.mark.parametrize("options", [{}, {"seed": 3}, {"cluster": 4, "other": 255}])
def test_the_barrier_of_a_cluster_orders_its_blocks(options):
    other = options.get("other", 127)
    assert clustered(**options).tolist() == [n ^ other for n in range(256)]


@pytest.mark.parametrize("wrong", [{"meet": "bar.sync 0;"}, {"other": 255}, {"cluster": 1}])
def test_the_barrier_of_a_cluster_orders_no_others(wrong):
    with pytest.raises(PtxError, match=r"race: thread .* (wrote|read) global address"):
        clustered(**wrong)


def test_the_barrier_of_a_cluster_is_not_split():
    with pytest.raises(PtxError, match="right after it arrived"):
        clustered(MEET.replace("\n", "\nadd.u32 %r9, %r9, 1;\n"))
    with pytest.raises(PtxError, match="orders nothing"):
        clustered(MEET.replace("arrive", "arrive.relaxed"))
    with pytest.raises(PtxError, match="not clusters of 3"):
        clustered(cluster=3)


# ---- asynchronous copies

COPY = """
    mov.u32 %r3, tile;
    shl.b32 %r2, %r60, 4;
    add.u32 %r3, %r3, %r2;
    cvt.u64.u32 %d2, %r2;
    add.s64 %d2, %d2, %d41;
    cp.async.cg.shared.global [%r3], [%d2], 16{more};
    cp.async.commit_group;
    {wait}
    bar.sync 0;
    xor.b32 %r4, %r2, 508;
    mov.u32 %r5, tile;
    add.u32 %r5, %r5, %r4;
    ld.shared.u32 %r1, [%r5];
"""


def copy(wait: str = "cp.async.wait_group 0;", more: str = "") -> np.ndarray:
    out, data = np.zeros(32, np.uint32), np.arange(128, dtype=np.uint32) + 1
    run(COPY.format(wait=wait, more=more) + STORE, out, data, before=TILE)
    return out


def test_copies_that_are_waited_for():
    words = (np.arange(32) * 4) ^ 127
    assert (copy() == words + 1).all()
    assert (copy("cp.async.wait_all;") == words + 1).all()
    assert (copy(more=", 8") == np.where(words % 4 < 2, words + 1, 0)).all()


@pytest.mark.parametrize("wait", ["", "cp.async.wait_group 1;"])
def test_a_missing_wait(wait):
    with pytest.raises(PtxError, match=r"where a cp.async is not waited for"):
        copy(wait)


def test_a_wait_without_a_barrier():
    """A thread waits only for its own copies."""
    body = COPY.format(wait="cp.async.wait_group 0;", more="").replace("bar.sync 0;", "")
    with pytest.raises(PtxError, match=r"race"):
        run(body, np.zeros(32, np.uint32), np.zeros(128, np.uint32), before=TILE)


def test_a_copy_over_what_others_still_read():
    again = "cp.async.cg.shared.global [%r3], [%d2], 16;\n"
    body = COPY.format(wait="cp.async.wait_all;", more="")
    arrays = np.zeros(32, np.uint32), np.zeros(128, np.uint32)
    run(body + "bar.sync 0;\n" + again, *arrays, before=TILE)
    with pytest.raises(PtxError, match=r"race: .* read shared"):
        run(body + again, *arrays, before=TILE)


def test_a_copy_from_outside():
    out, data = np.zeros(32, np.uint32), np.zeros(127, np.uint32)
    with pytest.raises(PtxError, match=r"cp.async.*\n.*thread \(31, 0, 0\).*argument 1"):
        run(COPY.format(wait="cp.async.wait_all;", more=""), out, data, before=TILE)
