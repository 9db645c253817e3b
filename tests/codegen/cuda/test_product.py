"""Matrix products of a GPU, run by the interpreter of PTX, which finds races and missing waits."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests import ptx
from tests.gpus import Simulated
from tests.runtime.cuda.kernels import needs_linker

import gradloom as gl
from gradloom.codegen.cuda import pieces, product, threads
from gradloom.codegen.cuda.fill import Filler
from gradloom.codegen.cuda.module import stages_text
from gradloom.codegen.cuda.target import gpu_machine, gpu_target
from gradloom.ir.affine import Affine
from gradloom.plan.dealt import DevicePlan, Tiled
from gradloom.plan.operands import Source
from gradloom.plan.plan import Limit, Plan, Product
from gradloom.plan.tiles import Tile, tile_of, tiles_for
from gradloom.runtime.cuda.linker import disassembler, sass
from gradloom.runtime.cuda.linker import link as assembled
from gradloom.runtime.cuda.machine import using
from gradloom.runtime.native import keep_only, link, optimise

# What rounding an operand changes it by, at the most, relative to it: half of the last bit kept.
ROUNDED = {"": 0.0, "tensorfloat32": 2**-11, "bfloat16": 2**-8}
# Of a block, at the most, by compute capability.
SHARED = {80: 163 << 10, 90: 227 << 10, 120: 99 << 10}


def text_of(products: dict[str, Tiled], capability: int = 90) -> str:
    """PTX with a kernel for each product, whose blocks share its tiles."""
    target = gpu_target(capability)
    machine = gpu_machine(target)
    empty = Plan((), (), 0, 0)
    stages = stages_text(DevicePlan(empty, products, empty), target, called=False)
    kernels = [shared_out(name, tiled.count) for name, tiled in products.items()]
    module = link([stages, SHARE, *kernels], machine)
    keep_only(module, [f"every_{name}" for name in products])
    optimise(module, machine)
    return machine.emit_assembly(module)


SHARE = """
declare i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()
define i64 @share(i64 %count, i32 %block) alwaysinline {
  %blocks = call i32 @llvm.nvvm.read.ptx.sreg.nctaid.x()
  %team = zext i32 %blocks to i64
  %number = zext i32 %block to i64
  %before = mul i64 %count, %number
  %share = udiv i64 %before, %team
  ret i64 %share
}
"""


def shared_out(name: str, count: int) -> str:
    return f"""
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i64 @share(i64, i32)
declare void @{name}(i64, i64, ptr, ptr, ptr)
define ptx_kernel void @every_{name}(ptr %a, ptr %b, ptr %c) {{
  %block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %next = add i32 %block, 1
  %start = call i64 @share(i64 {count}, i32 %block)
  %stop = call i64 @share(i64 {count}, i32 %next)
  call void @{name}(i64 %start, i64 %stop, ptr %a, ptr %b, ptr %c)
  ret void
}}
"""


def launched(
    tiled: Tiled, a: np.ndarray, b: np.ndarray, blocks: int = 2, shift: int = 0, **options: bool
) -> tuple[np.ndarray, ptx.Counters]:
    """C, and NaN where nothing was written, of operands that begin `shift` elements behind an
    aligned place."""
    shape = tiled.product
    last = zip(shape.c_strides, (*shape.batch, shape.rows, shape.columns), strict=True)
    c = np.full(1 + sum(stride * (size - 1) for stride, size in last), np.nan, shape.dtype)
    memory = ptx.Memory()
    places = []
    for number, array in enumerate((a, b, c)):
        places.append(memory.allocate((array.size + shift) * c.itemsize, "ABC"[number]))
        places[-1] += shift * c.itemsize
        memory.fill(places[-1], array)
    counters = ptx.load(text_of({"product": tiled})).launch(
        "every_product",
        grid=blocks,
        block=256,
        args=places,
        shared=product.shared_bytes(tiled),
        memory=memory,
        races="global",
        **options,
    )
    return memory.download(places[2], c.shape, c.dtype), counters


def plain(
    rows: int,
    columns: int,
    depth: int,
    dtype: str = "float32",
    turned: tuple[bool, bool] = (False, False),
) -> Product:
    """A row-major product, of operands that are perhaps transposes."""
    a = (1, rows) if turned[0] else (depth, 1)
    b = (1, depth) if turned[1] else (columns, 1)
    return Product("product", dtype, (), rows, columns, (depth,), a, b, (columns, 1))


def terms(p: Product, index: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which elements of A and of B are multiplied for an element of C, by its definition."""
    batch, m, n = index[:-2], index[-2], index[-1]
    ranges = [range(size) for size in p.depth]
    for limit in p.limits:
        low, high = limit.bounds(dict(enumerate(batch)))
        ranges[limit.axis] = range(max(low, 0), min(high, p.depth[limit.axis]))
    ks = np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, len(p.depth))
    count = len(batch)
    a = np.dot(p.a_strides[: count + 1], (*batch, m)) + ks @ p.a_strides[count + 1 :]
    b = np.dot((*p.b_strides[:count], p.b_strides[-1]), (*batch, n)) + ks @ p.b_strides[count:-1]
    return a + p.before[0], b + p.before[1]


def assert_multiplied(tiled: Tiled, seed: int = 0, shift: int = 0) -> None:
    """C is what NumPy finds in float64, within the errors of the formats."""
    p = tiled.product
    rng = np.random.default_rng(seed)
    pairs = {index: terms(p, index) for index in np.ndindex(*p.batch, p.rows, p.columns)}
    sizes = (1 + max(int(at.max()) for at in side) for side in zip(*pairs.values(), strict=True))
    a, b = (rng.normal(size=size).astype(p.dtype) for size in sizes)
    found, _ = launched(tiled, a, b, shift=shift)
    eps, once = float(np.finfo(p.dtype).eps), ROUNDED[tiled.precision]
    for index, (left, right) in pairs.items():
        x, y = a[left].astype(float), b[right].astype(float)
        # Both operands are rounded, and then the sum is, once for each term.
        bound = np.abs(x) @ np.abs(y) * (2 * once + once**2 + (left.size + 1) * eps)
        got = found[np.dot(p.c_strides, index)]
        assert abs(got - x @ y) <= bound, (index, got, x @ y, bound)


KINDS = [("float32", ""), ("float64", ""), ("float32", "tensorfloat32"), ("float32", "bfloat16")]
EVERY_TILE = [(dtype, p, tile) for dtype, p in KINDS for tile in tiles_for(dtype, p)]


@pytest.mark.parametrize(("dtype", "precision", "tile"), EVERY_TILE)
def test_every_tile_at_its_edges(dtype: str, precision: str, tile: Tile):
    """Rows and columns that end within a tile, and depth within a piece; one operand of each order
    is copied 16 bytes at a time."""
    rows, columns, depth = 36, 20, tile.depth + 4
    turned = [(False, False), (True, True)][tile.rows % 3 % 2]
    assert_multiplied(Tiled(plain(rows, columns, depth, dtype, turned), tile, precision=precision))


def random_tiled(rng: np.random.Generator) -> Tiled:
    """A product of a few rows and columns, as strided as plans make them."""
    dtype, precision = KINDS[rng.integers(len(KINDS))]
    small = [t for t in tiles_for(dtype, precision) if t.rows + t.columns <= 96]
    tile = small[rng.integers(len(small))]
    four = 4 if rng.random() < 0.5 else 1  # so that 16 bytes can be copied together
    rows, columns = (int(rng.integers(1, 40 // four)) * four for _ in range(2))
    depth = tuple(int(rng.integers(1, 7)) * four for _ in range(rng.integers(1, 3)))
    batch = tuple(int(n) for n in rng.integers(1, 3, rng.integers(0, 3)))

    def strided(sizes: list[int], order: list[int], gap: int) -> list[int]:
        """Strides of axes that lie in this order, the last of them innermost."""
        strides, step = [0] * len(sizes), 1
        for axis in reversed(order):
            strides[axis] = step
            step = step * sizes[axis] + gap * four
        return strides

    outer = list(range(len(batch)))
    own, inner = [len(batch)], [len(batch) + 1 + n for n in range(len(depth))]
    orders = [outer + (inner + own, own + inner)[rng.integers(2)] for _ in range(2)]
    a = strided([*batch, rows, *depth], orders[0], 0)
    b = strided([*batch, columns, *depth], orders[1], 1)
    b = [*b[: len(batch)], *b[len(batch) + 1 :], b[len(batch)]]
    if batch and rng.random() < 0.3:
        a[0] = 0  # all of the batch share one A
    c = strided([*batch, rows, columns], list(range(len(batch) + 2)), int(rng.integers(2)))
    p = Product("product", dtype, batch, rows, columns, depth, tuple(a), tuple(b), tuple(c))
    return Tiled(p, tile, precision=precision)


@pytest.mark.parametrize("seed", range(24))
def test_shapes_and_strides(seed: int):
    rng = np.random.default_rng(seed)
    assert_multiplied(random_tiled(rng), seed, shift=int(rng.integers(2)))


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("step", [1, 2])
def test_limits(precision: str, step: int):
    """A row of a convolution: for the first and the last place there is less to sum, and no memory
    beyond."""
    size, taps, channels = 9, 3, 4
    out = -(-size // step)
    here = Affine.axis(0) * step
    low, high = here * -1 + 1, here * -1 + (size + 1)
    p = Product(
        "product",
        "float32",
        (out,),
        5,
        7,
        (taps, channels),
        (step * channels, size * channels, channels, 1),
        (0, channels * 7, 7, 1),
        (7, out * 7, 1),
        (Limit(0, 1, low, high),),
        (-channels, 0),
    )
    tile = tiles_for("float32", precision)[-1]
    assert_multiplied(Tiled(p, tile, precision=precision))


@pytest.mark.parametrize(
    ("shape", "turned"),
    [
        ((1, 40, 600), (False, False)),  # columns that lie together
        ((3, 40, 132), (True, False)),
        ((8, 40, 132), (False, False)),
        ((1, 12, 1028), (False, True)),  # columns that lie by depth
        ((5, 9, 128), (False, True)),
        ((40, 1, 140), (True, False)),  # rows
        ((19, 8, 200), (False, False)),
    ],
)
@pytest.mark.parametrize(("dtype", "shift"), [("float32", 0), ("float32", 1), ("float64", 0)])
def test_few_rows_or_columns(
    shape: tuple[int, int, int], turned: tuple[bool, bool], dtype: str, shift: int
):
    p = plain(*shape, dtype, turned)
    tile = tile_of(p)
    assert tile.thin
    assert_multiplied(Tiled(p, tile), shift=shift)
    batch = replace(p, batch=(3,), a_strides=(0, *p.a_strides), b_strides=(16, *p.b_strides))
    batch = replace(batch, c_strides=(math.prod(shape[:2]), *p.c_strides))
    assert_multiplied(Tiled(batch, tile_of(batch)))


@pytest.mark.parametrize("precision", ["tensorfloat32", "bfloat16"])
def test_a_gradient_is_multiplied_likewise(precision: str):
    """Of sum(x @ w * r) by w it is x.T @ r."""
    rng = np.random.default_rng(3)
    w, x, r = (rng.normal(size=size).astype("f") for size in ((9, 33), (17, 9), (17, 33)))
    slope = gl.grad(lambda w: (x @ w * r).sum())
    with using(Simulated()):
        found = gl.jit(slope, device="cuda", precision=precision)(w)
    error = np.abs(found - x.T.astype(float) @ r.astype(float))
    once, eps = ROUNDED[precision], 2**-23
    assert np.all(error <= np.abs(x.T) @ np.abs(r) * (2 * once + once**2 + 18 * eps))
    assert error.max() > once / 2  # or it was not rounded at all


# ---- faults

FAULTY = Tiled(plain(36, 40, 100), Tile(32, 32, 32))


def test_the_barrier_between_warps_is_needed(monkeypatch: pytest.MonkeyPatch):
    p = plain(1, 40, 600)
    monkeypatch.setattr(threads, "meet", lambda b: None)
    with pytest.raises(ptx.PtxError):
        assert_multiplied(Tiled(p, tile_of(p)))


def fault(monkeypatch: pytest.MonkeyPatch, where: object, name: str, wrong: Callable) -> None:
    """The same product with one thing wrong is found out, by the interpreter or by its numbers."""
    assert_multiplied(FAULTY)
    right = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *given: wrong(right, *given))
    with pytest.raises((ptx.PtxError, AssertionError)):
        assert_multiplied(FAULTY)


WAITS = {
    "a wait that is missing": ("wait", lambda right, b, pending: None),
    "a wait for one piece too few": ("wait", lambda right, b, pending: right(b, pending + 1)),
    "a group that is not closed": ("commit", lambda right, b: None),
}


@pytest.mark.parametrize("what", WAITS)
def test_waits_are_needed(monkeypatch: pytest.MonkeyPatch, what: str):
    name, wrong = WAITS[what]
    fault(monkeypatch, pieces, name, wrong)


def test_the_barrier_is_needed(monkeypatch: pytest.MonkeyPatch):
    fault(monkeypatch, threads, "meet", lambda right, b: None)


@pytest.mark.parametrize("operand", [0, 1])
@pytest.mark.parametrize("more", [-1, 1])
def test_the_bounds_of_rows_and_columns_are_needed(
    monkeypatch: pytest.MonkeyPatch, operand: int, more: int
):
    def wrong(right: Callable, p: Product) -> tuple[Source, ...]:
        found = list(right(p))
        found[operand] = replace(found[operand], count=found[operand].count + more)
        return tuple(found)

    fault(monkeypatch, pieces, "sources", wrong)


def test_every_piece_of_depth_is_needed(monkeypatch: pytest.MonkeyPatch):
    fault(monkeypatch, pieces, "pieces", lambda right, tiled: right(tiled) - 1)


@pytest.mark.parametrize("more", [-1, 1])
def test_the_bound_of_depth_is_needed(monkeypatch: pytest.MonkeyPatch, more: int):
    def wrong(right: Callable, b: object, p: Product, *given: object) -> Filler:
        return right(b, replace(p, depth=(p.depth[0] + more,)), *given)

    fault(monkeypatch, pieces, "Filler", wrong)


@pytest.mark.parametrize("more", [-1, 1])
def test_the_bounds_of_the_result_are_needed(monkeypatch: pytest.MonkeyPatch, more: int):
    def wrong(right: Callable, writer: object) -> None:
        p = writer.product
        writer.product = replace(p, columns=p.columns + more)
        right(writer)
        writer.product = p

    fault(monkeypatch, product._Writer, "_write", wrong)


# ---- what it takes


def big(dtype: str, precision: str, tile: Tile, limited: bool) -> Tiled:
    """A product whose operands both allow copies of 16 bytes, with all that costs registers."""
    p = plain(1024, 1024, 1024, dtype, (False, True))
    if limited:
        p = replace(
            p, batch=(8,), depth=(32, 32), limits=(Limit(0, 2, Affine.axis(0), Affine(30)),)
        )
        p = replace(p, a_strides=(64, 1024, 32, 1), b_strides=(64, 32, 1, 1024))
        p = replace(p, c_strides=(1 << 20, 1024, 1))
    return Tiled(p, tile, precision=precision)


THIN = [(1, 512, 512), (8, 512, 512), (512, 8, 512)]
FLOATS = ["float32", "float64"]
TURNED = [(False, False), (True, True)]


@needs_linker
@pytest.mark.parametrize("capability", SHARED)
@pytest.mark.parametrize("limited", [False, True])
def test_every_kind_fits_registers_and_shared_memory(capability: int, limited: bool):
    kinds = [big(dtype, precision, tile, limited) for dtype, precision, tile in EVERY_TILE]
    if not limited:
        few = [plain(*s, *k) for s in THIN for k in itertools.product(FLOATS, TURNED)]
        kinds += [Tiled(p, tile_of(p)) for p in few]
    text = text_of({f"p{n}": tiled for n, tiled in enumerate(kinds)}, capability)
    resources = assembled([text], f"sm_{capability}").resources
    assert len(resources) == len(kinds)
    assert max(map(product.shared_bytes, kinds)) <= SHARED[capability]
    for name, taken in resources.items():
        assert taken.spill_stores == taken.spill_loads == taken.stack_bytes == 0, name
        assert taken.registers <= 255, name


def loop(tiled: Tiled) -> Counter[str]:
    """Instructions of the innermost loop that multiplies, by their first words."""
    lines = [
        line.strip() for line in sass(assembled([text_of({"p": tiled})], "sm_90")).splitlines()
    ]
    labels = {line[:-1]: at for at, line in enumerate(lines) if re.fullmatch(r"\.L\w+:", line)}
    loops = []
    for at, line in enumerate(lines):
        jump = re.search(r"\bBRA\b.*?(\.L\w+)", line)
        if jump and labels[jump[1]] < at:
            body = "\n".join(lines[labels[jump[1]] : at])
            words = re.findall(r"^/\*\w+\*/\s+(?:@!?U?P\d\s+)?([A-Z]\w*(?:\.\d+)?)", body, re.M)
            loops.append(Counter(words))
    return min((c for c in loops if any(w[:4] in ("FFMA", "HMMA") for w in c)), key=Counter.total)


# Of 128 x 128 sums a thread has 8 x 8, and for each of 16 indices of depth it reads 16 bytes four
# times; or a warp has 64 x 32, of which `mma` takes 16 x 8, for 8 or 16 indices: it reads A and B
# once, as four matrices an instruction, and rounds each number.
LOOPS = {
    "": ({"FFMA": 1024, "LDS.128": 64}, 1250),
    "tensorfloat32": ({"HMMA.1688": 32, "LDSM.16": 12, "F2FP": 48, "MOV": 0}, 230),
    "bfloat16": ({"HMMA.16816": 16, "LDSM.16": 12, "F2FP": 24, "MOV": 0}, 190),
}


@needs_linker
@pytest.mark.parametrize("precision", LOOPS)
def test_the_main_loop_multiplies_most_of_the_time(precision: str):
    """What is beside in it copies the next piece: 16 bytes at a time, or else one by one."""
    try:
        disassembler()
    except gl.errors.ToolchainError:
        pytest.skip("nvdisasm is not installed")
    wanted, most = LOOPS[precision]
    counts = loop(big("float32", precision, Tile(128, 128, 16), limited=False))
    assert {name: counts[name] for name in wanted} == wanted
    assert counts.total() < most


@pytest.mark.parametrize("turned", [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize(("dtype", "precision"), KINDS)
def test_banks_of_shared_memory(dtype: str, precision: str, turned: tuple[bool, bool]):
    """Reading a piece asks no bank for two words at once."""
    tile = Tile(64, 64, 16)
    p = plain(64, 64, 16, dtype, turned)
    zeros = np.zeros(64 * 16, dtype)
    _, counters = launched(Tiled(p, tile, precision=precision), zeros, zeros, 1, profile=True)
    assert counters.bank_conflicts == 0
