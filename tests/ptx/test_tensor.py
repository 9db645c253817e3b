"""mma.sync and ldmatrix, with fragments laid out as the PTX manual draws them."""

import numpy as np
import pytest

from tests.ptx import PtxError
from tests.ptx.snippets import module, run

RNG = np.random.default_rng(5)
LANE = np.arange(32)
GROUP, MEMBER = LANE // 4, LANE % 4


def product(shape: str, kind: str, words: int) -> np.ndarray:
    """One mma of a warp: fragments of A, B, C in, of D out, one row of words for each lane."""
    lines = []
    fragments = (("%r1", words), ("%r2", words // 2), ("%f1", 4))
    for at, (name, count) in enumerate(fragments):
        lines.append(f"mad.wide.u32 %d{at + 1}, %r60, {4 * count}, %d{41 + at};")
        for word in range(count):
            target = f"{name}{word}"
            suffix = "f32" if name[1] == "f" else "b32"
            lines.append(f"ld.global.{suffix} {target}, [%d{at + 1}+{4 * word}];")
    a = ", ".join(f"%r1{word}" for word in range(words))
    b = ", ".join(f"%r2{word}" for word in range(words // 2))
    lines.append(
        f"mma.sync.aligned.{shape}.row.col.f32.{kind}.{kind}.f32 "
        f"{{%f20, %f21, %f22, %f23}}, {{{a}}}, {{{b}}}, {{%f10, %f11, %f12, %f13}};"
    )
    lines.append("mad.wide.u32 %d5, %r60, 16, %d40;")
    lines.append("st.global.v4.f32 [%d5], {%f20, %f21, %f22, %f23};")
    return module("\n".join(lines), 4)


def bits(matrix: np.ndarray, kind: str) -> np.ndarray:
    """16-bit patterns of a matrix of small numbers, which both types hold exactly."""
    if kind == "f16":
        return matrix.astype(np.float16).view(np.uint16)
    return (matrix.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def accumulator(matrix: np.ndarray) -> np.ndarray:
    return np.stack(
        [matrix[GROUP + down, 2 * MEMBER + right] for down in (0, 8) for right in (0, 1)], axis=1
    )


def check(shape: str, kind: str, k: int, a: np.ndarray, b: np.ndarray, words: int, left, right):
    start = RNG.integers(-8, 8, (16, 8)).astype(np.float32)
    out = np.zeros((32, 4), np.float32)
    args = [out, left, right, accumulator(start).astype(np.float32)]
    product(shape, kind, words).launch(grid=1, block=32, args=args)
    assert (out == accumulator(a @ b + start)).all()


@pytest.mark.parametrize(("k", "words"), [(8, 4), (4, 2)])
def test_tf32(k, words):
    a = RNG.integers(-8, 8, (16, k)).astype(np.float32)
    b = RNG.integers(-8, 8, (k, 8)).astype(np.float32)
    left = [a[GROUP + down, MEMBER + right] for right in range(0, k, 4) for down in (0, 8)]
    right = [b[MEMBER + down, GROUP] for down in range(0, k, 4)]
    check(f"m16n8k{k}", "tf32", k, a, b, words, np.stack(left, 1), np.stack(right, 1))


@pytest.mark.parametrize("kind", ["f16", "bf16"])
@pytest.mark.parametrize(("k", "words"), [(16, 4), (8, 2)])
def test_halves(kind, k, words):
    a = RNG.integers(-8, 8, (16, k)).astype(np.float32)
    b = RNG.integers(-8, 8, (k, 8)).astype(np.float32)
    left, right = bits(a, kind), bits(b, kind)

    def pair(matrix, rows, columns, along):
        other = (rows, columns + 1) if along else (rows + 1, columns)
        return matrix[rows, columns].astype(np.uint32) | (matrix[other].astype(np.uint32) << 16)

    a_words = [
        pair(left, GROUP + down, 2 * MEMBER + block, along=True)
        for block in range(0, k, 8)
        for down in (0, 8)
    ]
    b_words = [pair(right, 2 * MEMBER + block, GROUP, along=False) for block in range(0, k, 8)]
    check(f"m16n8k{k}", kind, k, a, b, words, np.stack(a_words, 1), np.stack(b_words, 1))


def test_half_accumulators():
    body = """
    mov.u32 %r1, 0x3C003C00;
    mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16
        {%r2, %r3}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%r1, %r1};
    add.s64 %d1, %d40, %d60;
    st.global.u32 [%d1], %r3;
    """
    out = np.zeros(32, np.uint32)
    run(body, out)
    assert (out.view(np.float16) == 17).all()


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix(transposed):
    """Four matrices, whose rows lie 48 bytes apart."""
    matrices = RNG.integers(0, 1 << 16, (4, 8, 8)).astype(np.uint16)
    flat = np.zeros((32, 24), np.uint16)
    flat[:, :8] = matrices.reshape(32, 8)
    body = f"""
    mov.u32 %r1, tile; mad.lo.u32 %r1, %r60, 48, %r1;
    mad.wide.u32 %d1, %r60, 48, %d41;
    ld.global.v4.u32 {{%r2, %r3, %r4, %r5}}, [%d1];
    st.shared.v4.u32 [%r1], {{%r2, %r3, %r4, %r5}};
    bar.warp.sync -1;
    ldmatrix.sync.aligned.m8n8.x4{".trans" if transposed else ""}.shared.b16
        {{%r2, %r3, %r4, %r5}}, [%r1];
    mad.wide.u32 %d2, %r60, 16, %d40;
    st.global.v4.u32 [%d2], {{%r2, %r3, %r4, %r5}};
    """
    out = np.zeros((32, 4), np.uint32)
    run(body, out, flat, before=".shared .align 16 .b8 tile[1536];\n")
    for number in range(4):
        matrix = matrices[number].T if transposed else matrices[number]
        low = matrix[GROUP, 2 * MEMBER].astype(np.uint32)
        assert (
            out[:, number] == low | (matrix[GROUP, 2 * MEMBER + 1].astype(np.uint32) << 16)
        ).all()


def test_half_a_warp_cannot_multiply():
    body = """
    setp.lt.u32 %p1, %r60, 16;
    @%p1 ret;
    mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32
        {%f1, %f2, %f3, %f4}, {%r1, %r2}, {%r3}, {%f1, %f2, %f3, %f4};
    """
    with pytest.raises(PtxError, match=r"a lane of its warp has ended"):
        run(body)


def test_other_shapes_are_refused():
    body = "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%g1, %g2}, {%g3}, {%g4}, {%g5, %g6};"
    with pytest.raises(PtxError, match=r"not interpreted"):
        run(body)
