"""Integer instructions beside Python's integers, on edges and on random bits."""

import numpy as np
import pytest

from tests.ptx.snippets import apply, run

RNG = np.random.default_rng(1)
SIGNED = {32: np.int32, 64: np.int64, 16: np.int16}


def samples(bits: int, kind: str) -> np.ndarray:
    edges = [0, 1, 2, 3, (1 << bits - 1) - 1, 1 << bits - 1, (1 << bits) - 1, (1 << bits) - 2]
    some = [int.from_bytes(RNG.bytes(bits // 8), "little") for _ in range(24)]
    small = [value & 63 for value in some[:8]]
    values = np.array(edges + some + small, f"u{bits // 8}")
    return values.view(SIGNED[bits]) if kind == "s" else values


def truncated(x: int, y: int) -> int:
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


BINARY = {
    "add": lambda x, y, n: x + y,
    "sub": lambda x, y, n: x - y,
    "mul.lo": lambda x, y, n: x * y,
    "mul.hi": lambda x, y, n: (x * y) >> n,
    "min": lambda x, y, n: min(x, y),
    "max": lambda x, y, n: max(x, y),
    "div": lambda x, y, n: truncated(x, y) if y else -1,
    "rem": lambda x, y, n: x - y * truncated(x, y) if y else x,
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("kind", ["s32", "u32", "s64", "u64", "u16", "s16"])
def test_binary(name, kind):
    bits = int(kind[1:])
    x = np.repeat(samples(bits, kind[0]), 5)
    y = RNG.permutation(x)
    found = apply(f"{name}.{kind} {{0}}, {{1}}, {{2}};", f"{kind} {kind} {kind}", x, y)
    expected = [BINARY[name](int(a), int(b), bits) for a, b in zip(x, y, strict=True)]
    assert [int(v) % (1 << bits) for v in found] == [v % (1 << bits) for v in expected]


def wide(x, y):
    return int(x) * int(y)


@pytest.mark.parametrize("kind", ["s32", "u32", "s16", "u16"])
def test_wide_products(kind):
    bits = int(kind[1:])
    x = samples(bits, kind[0])
    y = RNG.permutation(x)
    result = f"{kind[0]}{2 * bits}"
    found = apply(f"mul.wide.{kind} {{0}}, {{1}}, {{2}};", f"{result} {kind} {kind}", x, y)
    assert [int(v) for v in found] == list(map(wide, x, y))
    line = f"mad.wide.{kind} {{0}}, {{1}}, {{2}}, {{3}};"
    z = np.arange(x.size).astype(found.dtype)
    sums = apply(line, f"{result} {kind} {kind} {result}", x, y, z)
    assert (sums == found + z).all()


def test_carries_make_a_sum_of_128_bits():
    a, b, c, d = (samples(64, "u")[RNG.permutation(40)] for _ in range(4))
    low, high = np.zeros(40, np.uint64), np.zeros(40, np.uint64)
    lines = "mul.wide.u32 %d61, %r61, 8;\n"
    for at in range(6):
        lines += f"add.s64 %d{50 + at}, %d{40 + at}, %d61;\n"
    for at in range(4):
        lines += f"ld.global.u64 %d{1 + at}, [%d{50 + at}];\n"
    lines += "add.cc.u64 %d5, %d1, %d2;\naddc.u64 %d6, %d3, %d4;\n"
    lines += "st.global.u64 [%d54], %d5;\nst.global.u64 [%d55], %d6;\n"
    run(lines, a, b, c, d, low, high, block=40)
    for p, q, r, s, x, y in zip(*(v.tolist() for v in (a, b, c, d, low, high)), strict=True):
        assert (x + (y << 64)) == (p + q + (r + s << 64)) % (1 << 128)


def reverse(x, n):
    return int(format(x, f"0{n}b")[::-1], 2)


UNARY = {
    "popc.b": (lambda x, n: x.bit_count(), False),
    "clz.b": (lambda x, n: n - x.bit_length(), False),
    "brev.b": (reverse, True),
    "bfind.u": (lambda x, n: (x.bit_length() - 1) % 2**32, False),
    "not.b": (lambda x, n: ~x % (1 << n), True),
    "cnot.b": (lambda x, n: int(x == 0), True),
    "neg.s": (lambda x, n: -x % (1 << n), True),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("bits", [32, 64])
def test_unary(name, bits):
    x = samples(bits, "u")
    function, keeps = UNARY[name]
    kinds = f"u{bits if keeps else 32} u{bits}"
    found = apply(f"{name}{bits} {{0}}, {{1}};", kinds, x)
    assert found.tolist() == [function(int(v), bits) for v in x]


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_shifts_saturate_their_amount(bits):
    x = np.repeat(samples(bits, "s"), 4)
    by = np.resize(np.uint32([0, 1, bits - 1, bits, bits + 1, 200, 5]), x.size)
    left = apply(f"shl.b{bits} {{0}}, {{1}}, {{2}};", f"b{bits} b{bits} u32", x, by)
    right = apply(f"shr.s{bits} {{0}}, {{1}}, {{2}};", f"s{bits} s{bits} u32", x, by)
    logical = apply(f"shr.u{bits} {{0}}, {{1}}, {{2}};", f"u{bits} u{bits} u32", x, by)
    for value, n, a, b, c in zip(*(v.tolist() for v in (x, by, left, right, logical)), strict=True):
        assert a == (value << n) % (1 << bits)
        assert b == value >> n
        assert c == value % (1 << bits) >> n


def test_funnel_shift():
    low, high = samples(32, "u"), samples(32, "u")
    by = np.resize(np.uint32([0, 1, 31, 32, 40, 7]), low.size)
    kinds = "b32 b32 b32 b32"
    for side, mode in (("l", "wrap"), ("r", "wrap"), ("l", "clamp"), ("r", "clamp")):
        found = apply(f"shf.{side}.{mode}.b32 {{0}}, {{1}}, {{2}}, {{3}};", kinds, low, high, by)
        for p, q, n, f in zip(*(v.tolist() for v in (low, high, by, found)), strict=True):
            n = n & 31 if mode == "wrap" else min(n, 32)
            both = q << 32 | p
            assert f == ((both << n >> 32) if side == "l" else both >> n) % 2**32


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bit_fields(kind):
    bits = int(kind[1:])
    x = np.repeat(samples(bits, kind[0]), 6)
    at = RNG.integers(0, bits + 4, x.size).astype(np.uint32)
    size = RNG.integers(0, bits + 4, x.size).astype(np.uint32)
    found = apply(f"bfe.{kind} {{0}}, {{1}}, {{2}}, {{3}};", f"{kind} {kind} u32 u32", x, at, size)
    for value, start, length, field in zip(
        *(v.tolist() for v in (x, at, size, found)), strict=True
    ):
        sign = value < 0
        expected = sum(
            (value >> min(start + i, bits - 1) & 1) << i for i in range(min(length, bits))
        )
        if kind[0] == "u":
            expected = (value >> start) & ((1 << length) - 1)
        elif length and length < bits and expected >> (length - 1) & 1:
            expected -= 1 << length
        elif length >= bits and sign:
            expected -= 1 << bits
        assert field == expected
    other = np.roll(x, 3)
    line = f"bfi.b{bits} {{0}}, {{1}}, {{2}}, {{3}}, {{4}};"
    made = apply(line, f"b{bits} b{bits} b{bits} u32 u32", x, other, at, size)
    for p, q, start, length, f in zip(
        *(v.tolist() for v in (x, other, at, size, made)), strict=True
    ):
        mask = (((1 << length) - 1) << start) % (1 << bits)
        assert f == (q % (1 << bits) & ~mask) | ((p << start) & mask)


def test_three_way_logic_and_byte_permutation():
    a, b, c = (samples(32, "u")[RNG.permutation(40)] for _ in range(3))
    kinds = "b32 b32 b32 b32"
    mixed = apply("lop3.b32 {0}, {1}, {2}, {3}, 0xE8;", kinds, a, b, c)  # the majority
    assert (mixed == ((a & b) | (a & c) | (b & c))).all()
    picked = apply("prmt.b32 {0}, {1}, {2}, 0x7531;", "b32 b32 b32", a, b)
    for x, y, found in zip(a.tolist(), b.tolist(), picked.tolist(), strict=True):
        both = (y << 32 | x).to_bytes(8, "little")
        assert found.to_bytes(4, "little") == bytes(both[i] for i in (1, 3, 5, 7))
    signs = apply("prmt.b32 {0}, {1}, 0, 0xBA98;", "b32 b32", a)
    for x, found in zip(a.tolist(), signs.tolist(), strict=True):
        want = bytes(255 * (byte >> 7) for byte in x.to_bytes(4, "little"))
        assert found.to_bytes(4, "little") == want


def test_saturating_sum_and_product():
    x, y = samples(32, "s"), np.roll(samples(32, "s"), 3)
    found = apply("add.sat.s32 {0}, {1}, {2};", "s32 s32 s32", x, y)
    exact = x.astype(np.int64) + y
    assert (found == np.clip(exact, -(2**31), 2**31 - 1)).all()


def test_comparisons_of_both_signs():
    x = samples(32, "u")
    y = np.roll(x, 7)
    kinds = "u32 u32 u32"
    for name, expected in (("lt.u32", x < y), ("lt.s32", x.view("i4") < y.view("i4"))):
        line = f"setp.{name} %p1, {{1}}, {{2}}; selp.u32 {{0}}, 1, 0, %p1;"
        assert (apply(line, kinds, x, y) == expected).all()
    both = "setp.gt.or.u32 %p1|%p2, {1}, {2}, %p3; selp.u32 {0}, 1, 0, %p2;"
    assert (apply("setp.ne.u32 %p3, {1}, {1}; " + both, kinds, x, y) == (x <= y)).all()
