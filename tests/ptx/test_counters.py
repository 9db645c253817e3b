"""What a launch counts."""

import numpy as np
import pytest

from tests.ptx.snippets import run

TILE = ".shared .align 16 .b8 tile[16384];\n"


def test_instructions_and_bytes():
    data = np.zeros(256, np.float32)
    body = """
    setp.ge.u32 %p1, %r60, 32;
    @%p1 ret;
    mad.wide.u32 %d1, %r61, 16, %d40;
    ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%d1];
    mul.f32 %f1, %f1, %f2;
    st.global.f32 [%d1], %f1;
    """
    counters = run(body, data, block=64)
    assert counters.count("mul.f32") == 32
    assert counters.count("setp") == 64
    assert counters.count("ld.global") == counters.instructions["ld.global.v4.f32"] == 32
    assert counters.count("ld.glob") == 0
    assert counters.global_read == 32 * 16
    assert counters.global_written == 32 * 4
    assert counters.total == sum(counters.instructions.values())


@pytest.mark.parametrize(("stride", "sectors"), [(1, 4), (2, 8), (8, 32), (0, 1)])
def test_sectors_show_what_does_not_coalesce(stride, sectors):
    body = f"""
    mul.lo.u32 %r1, %r61, {stride};
    mad.wide.u32 %d1, %r1, 4, %d40;
    ld.global.u32 %r2, [%d1];
    """
    assert run(body, np.zeros(256, np.uint32), profile=True).sectors == sectors


@pytest.mark.parametrize(
    ("width", "stride", "conflicts"),
    [(1, 1, 0), (1, 2, 1), (1, 32, 31), (1, 33, 0), (1, 0, 0), (4, 4, 0), (4, 8, 4), (2, 2, 0)],
)
def test_bank_conflicts(width, stride, conflicts):
    vector = {1: "u32 [%r3], 1", 2: "v2.u32 [%r3], {1, 1}", 4: "v4.u32 [%r3], {1, 1, 1, 1}"}[width]
    body = f"""
    mul.lo.u32 %r2, %r60, {4 * stride};
    mov.u32 %r3, tile;
    add.u32 %r3, %r3, %r2;
    st.shared.{vector};
    """
    counters = run(body, before=TILE, profile=True, races=False)
    assert counters.bank_conflicts == conflicts
    assert counters.shared_written == 32 * 4 * width


def test_barriers_and_rounds():
    counters = run("bar.sync 0;\nbar.sync 0;", grid=3, block=64)
    assert counters.barriers == 6
    assert counters.rounds == 3
