"""What a thread of a GPU knows of the others, as Python text: see `codegen.cuda.threads`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gradloom.codegen.cuda.text_lanes import TextLane
from gradloom.ir.types import ITEMSIZE
from gradloom.plan.tiles import THREADS, WARP

Combine = Callable[[TextLane, TextLane], TextLane]

SHARE = '''\
def share(count, grain):
    """The items, from one to before another, of this block: grains as evenly as they go."""
    grains = (count + grain - 1) // grain
    start = cuda.blockIdx.x * grains // cuda.gridDim.x * grain
    stop = (cuda.blockIdx.x + 1) * grains // cuda.gridDim.x * grain
    return min(start, count), min(stop, count)
'''

PICKED = '''\
def picked(index, size, fault):
    """A run-time index as Python means it; out of range, 0, and the fault is noted."""
    at = index + size if index < 0 else index
    if at < 0 or at >= size:
        cuda.atomic.exch(carray(fault, 1), 0, 1)
        at = 0
    return at
'''

# A value of 64 bits in halves: numba-cuda-mlir 0.6 moves no more than 32.
EXCHANGE = '''\
def exchanged(bits, distance):
    """The 64 bits that the thread of the warp at this distance holds."""
    low = cuda.shfl_xor_sync(0xFFFFFFFF, int32(bits), distance)
    high = cuda.shfl_xor_sync(0xFFFFFFFF, int32(bits >> 32), distance)
    return (int64(high) << 32) | int64(uint32(low))
'''


def place(number: str, names: Sequence[str], sizes: Sequence[int]) -> Iterator[str]:
    r"""Lines that find the indices of axes, the last of them fastest, of which `number` is one.

    >>> print(*place("item", "ijk", [5, 6, 7]), sep="\n")
    k = int64(uint32(item) % uint32(7))
    rest = uint32(uint32(item) // uint32(7))
    j = int64(rest % uint32(6))
    i = int64(rest // uint32(6))
    """
    if len(names) < 2:
        yield from (f"{name} = {number}" for name in names if name != number)
        return
    rest = f"uint32({number})"
    axes = list(zip(names, sizes, strict=True))
    for name, size in axes[:0:-1]:
        yield f"{name} = int64({rest} % uint32({size}))" if size > 1 else f"{name} = 0"
        if name != names[1]:
            yield f"rest = uint32({rest} // uint32({size}))"
            rest = "rest"
    yield f"{names[0]} = int64({rest} // uint32({sizes[1]}))"


def folded_by_warp(op: str, lane: TextLane, combine: Combine) -> TextLane:
    """The lanes of a warp combined, in each of them: by halves, in the same order every time."""

    def make(value: TextLane) -> TextLane:
        distance = WARP // 2
        while distance:
            value = combine(value, _exchange(value, distance))
            distance //= 2
        return value

    doc = f"The {op} of what the threads of a warp have."
    name = f"{op}_by_warp_{lane.dtype}"
    return lane.writer.called(name, make, [lane], doc, bound=True)  # all of them come here


def parts_of(dtype: str) -> tuple[str, str]:
    """The name of the shared memory in which warps meet with their parts of a fold, and the line
    that a kernel declares it by.

    The kernel, not the function: numba-cuda-mlir 0.6 loses the shared memory of functions that it
    does not inline.
    """
    kept = _kept(dtype)
    return f"parts_{kept}", f"parts_{kept} = cuda.shared.array({THREADS // WARP}, {kept})"


def _kept(dtype: str) -> str:
    return "int32" if dtype == "bool" else dtype


def folded_by_block(op: str, lane: TextLane, combine: Combine) -> TextLane:
    """The threads of a block combined, in each of them, by way of shared memory."""
    dtype, kept = lane.dtype, _kept(lane.dtype)

    def make(value: TextLane, parts: TextLane) -> TextLane:
        writer, body = value.writer, value.writer.body
        value = folded_by_warp(op, value, combine).cast(kept)
        body.line("thread = uint32(cuda.threadIdx.x)")
        body.line("cuda.syncthreads()  # for those who still read what was there")
        with body.inside(f"if thread % uint32({WARP}) == 0:"):
            body.line(f"parts[thread // uint32({WARP})] = {{0}}", value.value)
        body.line("cuda.syncthreads()")
        count = THREADS // WARP
        found = [writer.lane(kept, f"parts[{n}]", reads=True).cast(dtype) for n in range(count)]
        while len(found) > 1:
            found = [combine(x, y) for x, y in zip(found[::2], found[1::2], strict=True)]
        return found[0]

    name = f"{op}_by_block_{dtype}"
    doc = f"The {op} of what the threads of a block have."
    lane.writer.functions.define(name, [("x", dtype), ("parts", kept)], make, doc)
    return lane.writer.lane(dtype, f"{name}({{0:b}}, {parts_of(dtype)[0]})", lane, bound=True)


def _exchange(lane: TextLane, distance: int) -> TextLane:
    """What the lane of the warp at this distance, a power of two, holds."""
    writer, dtype = lane.writer, lane.dtype
    if ITEMSIZE[dtype] == 8:
        writer.functions.texts.setdefault("exchanged", EXCHANGE)
        bits = lane.bits() if lane.is_float else lane.cast("int64")
        found = writer.lane("int64", f"exchanged({{0}}, {distance})", bits, bound=True)
        return found.from_bits() if lane.is_float else found.cast(dtype)
    kept = dtype if lane.is_float else "int32"
    form = f"cuda.shfl_xor_sync(0xFFFFFFFF, {{0:b}}, {distance})"
    return writer.lane(kept, form, lane.cast(kept), bound=True).cast(dtype)
