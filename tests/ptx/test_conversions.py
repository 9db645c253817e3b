"""mov and cvt."""

import numpy as np
import pytest

from tests.ptx.snippets import apply, run

F32 = np.float32


@pytest.mark.parametrize(
    ("line", "kinds", "values", "expected"),
    [
        ("cvt.s64.s32 {0}, {1};", "s64 s32", np.int32([-5, 7]), [-5, 7]),
        ("cvt.u64.u32 {0}, {1};", "u64 u32", np.uint32([2**32 - 1]), [2**32 - 1]),
        ("cvt.s32.s8 {0}, {1};", "s32 u32", np.uint32([0x1FF, 0x17F]), [-1, 127]),
        ("cvt.u32.u16 {0}, {1};", "u32 u32", np.uint32([0x12345]), [0x2345]),
        ("cvt.u32.u64 {0}, {1};", "u32 u64", np.uint64([2**40 + 3]), [3]),
        ("cvt.sat.s8.s32 {0}, {1};", "s32 s32", np.int32([500, -500, 5]), [127, -128, 5]),
        ("cvt.sat.u8.s32 {0}, {1};", "u32 s32", np.int32([500, -500, 5]), [255, 0, 5]),
        ("cvt.rzi.s32.f32 {0}, {1};", "s32 f32", F32([-1.9, 3e9, -3e9]), [-1, 2**31 - 1, -(2**31)]),
        ("cvt.rzi.s32.f32 {0}, {1};", "s32 f32", F32([np.nan, 2.5]), [0, 2]),
        ("cvt.rni.s32.f32 {0}, {1};", "s32 f32", F32([0.5, 1.5, -2.5]), [0, 2, -2]),
        ("cvt.rmi.s32.f32 {0}, {1};", "s32 f32", F32([-0.5, 1.5]), [-1, 1]),
        ("cvt.rpi.s32.f32 {0}, {1};", "s32 f32", F32([-0.5, 1.5]), [0, 2]),
        ("cvt.rzi.u64.f32 {0}, {1};", "u64 f32", F32([1e30, -1]), [2**64 - 1, 0]),
        ("cvt.rzi.s64.f64 {0}, {1};", "s64 f64", np.array([np.nan]), [-(2**63)]),
        (
            "cvt.rn.f32.s32 {0}, {1};",
            "f32 s32",
            np.int32([2**24 + 1, 2**24 + 3]),
            [2**24, 2**24 + 4],
        ),
        ("cvt.rz.f32.s32 {0}, {1};", "f32 s32", np.int32([2**24 + 3]), [2**24 + 2]),
        ("cvt.rp.f32.u64 {0}, {1};", "f32 u64", np.uint64([2**60 + 1]), [2.0**60 + 2.0**37]),
        (
            "cvt.rn.f32.u64 {0}, {1};",
            "f32 u64",
            np.uint64([2**60 + 2**36 + 1]),
            [2.0**60 + 2.0**37],
        ),
        ("cvt.rn.f64.s64 {0}, {1};", "f64 s64", np.int64([2**53 + 1, -3]), [2.0**53, -3]),
        ("cvt.rm.f64.s64 {0}, {1};", "f64 s64", np.int64([-(2**53) - 1]), [-(2.0**53) - 2]),
        ("cvt.rn.f32.f64 {0}, {1};", "f32 f64", np.array([1 + 2.0**-24]), [1]),
        ("cvt.rp.f32.f64 {0}, {1};", "f32 f64", np.array([1 + 2.0**-50]), [1 + 2.0**-23]),
        ("cvt.rz.f32.f64 {0}, {1};", "f32 f64", np.array([-1e300]), [-float(np.finfo(F32).max)]),
        ("cvt.f64.f32 {0}, {1};", "f64 f32", F32([0.1]), [float(F32(0.1))]),
        ("cvt.rni.f32.f32 {0}, {1};", "f32 f32", F32([2.5, -0.4]), [2, 0]),
        ("cvt.sat.f32.f32 {0}, {1};", "f32 f32", F32([-2, 0.5, 3]), [0, 0.5, 1]),
    ],
)
def test_conversion(line, kinds, values, expected):
    found = apply(line, kinds, values)
    assert found.tolist() == expected


def test_halves_and_brain_floats():
    x = F32([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1e-8, 70000.0, -2.5])
    half = apply("cvt.rn.f16.f32 {0}, {1};", "u16 f32", x)
    with np.errstate(over="ignore"):
        assert (half.view(np.float16) == x.astype(np.float16)).all()
    back = apply("cvt.f32.f16 {0}, {1};", "f32 u16", half)
    assert (back == half.view(np.float16).astype(F32)).all()
    brain = apply("cvt.rn.bf16.f32 {0}, {1};", "u16 f32", x)
    assert brain[:3].tolist() == [0x3F80, 0x3F80, 0x3F82]
    assert apply("cvt.f32.bf16 {0}, {1};", "f32 u16", brain)[0] == 1
    pair = apply("cvt.rn.bf16x2.f32 {0}, {1}, {2};", "b32 f32 f32", x, np.roll(x, 1))
    assert (pair >> 16 == brain).all()
    assert (pair & 0xFFFF == np.roll(brain, 1)).all()
    alone = apply("cvt.rn.bf16x2.f32 {0}, 0f3F800000, {1};", "b32 f32", x)
    assert (alone == (brain.astype(np.uint32) | 0x3F800000)).all()


def test_tf32_keeps_ten_bits():
    x = F32([1 + 2.0**-11, 1 + 2.0**-12, -1 - 2.0**-11])
    found = apply("cvt.rna.tf32.f32 {0}, {1};", "b32 f32", x).view(F32)
    assert found.tolist() == [1 + 2.0**-10, 1, -1 - 2.0**-10]
    even = apply("cvt.rn.tf32.f32 {0}, {1};", "b32 f32", x).view(F32)
    assert even.tolist() == [1, 1, -1]


def test_parts_of_words():
    x = np.uint64([0x1122334455667788])
    upper = "{{.reg .b32 %t; mov.b64 {{%t, {0}}}, {1};}}"
    assert apply(upper, "u32 u64", x).tolist() == [0x11223344]
    assert apply("mov.b64 {0}, {{{1}, {2}}};", "u64 u32 u32", *np.uint32([[5], [6]])) == 6 << 32 | 5
    assert apply("mov.b32 {0}, {{{1}, {1}}};", "u32 u16", np.uint16([0xABCD])) == 0xABCDABCD


def test_a_move_shares_but_does_not_alias():
    out = np.zeros(64, np.uint32)
    run(
        """
        mov.u32 %r1, %r60;
        mov.u32 %r2, %r1;
        setp.lt.u32 %p1, %r60, 10;
        @%p1 add.u32 %r1, %r1, 100;
        @%p1 bra $skip;
        mov.u32 %r3, %r1; mov.u32 %r1, %r2; mov.u32 %r2, %r3;
        add.u32 %r2, %r2, 1000;
        $skip:
        add.s64 %d1, %d40, %d60;
        mad.lo.u32 %r4, %r2, 65536, %r1;
        st.global.u32 [%d1], %r4;
        """,
        out,
        block=64,
    )
    i = np.arange(64)
    first = np.where(i < 10, i + 100, i)
    second = np.where(i < 10, i, i + 1000)
    assert (out == second * 65536 + first).all()
