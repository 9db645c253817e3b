"""Faults put into the code generator: the tests that pass without them must fail with them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from llvmlite import ir
from tests.gpus import FORMS, Simulated
from tests.ptx import PtxError
from tests.runtime.cuda.models import perceptron

import gradloom as gl
import gradloom.numpy as gnp
import gradloom.plan.device
from gradloom.codegen.cpu.vectors import I64
from gradloom.codegen.cuda import element, fill, mma, nest, pieces, product, threads
from gradloom.gpu import Cuda
from gradloom.plan import spread
from gradloom.runtime.cuda import words
from gradloom.runtime.cuda.machine import using
from gradloom.runtime.emitters import EMITTERS
from gradloom.settings import settings

Patch = pytest.MonkeyPatch
X = np.random.default_rng(0).random((37, 50), np.float32)
WIDTH = 4  # elements of 16 bytes
WIDE = np.random.default_rng(2).random((20, 300), np.float32)
# Of odd length, so that there is one way to go over rows, not another for those that are aligned.
LONG = np.random.default_rng(1).random((9, 2101), np.float32)


# ---- programs; each has what the faults that are put into it break


def products(device: str) -> np.ndarray:
    """Tiles with edges, of several pieces of depth."""
    return gl.jit(lambda x: x @ x.T, device=device)(X)


def rounded_products(device: str) -> np.ndarray:
    """On tensor cores; of numbers that have few bits, so that nothing is rounded."""
    x = np.round(X * 64) / 64
    return gl.jit(lambda x: x @ x.T, device=device, precision="tensorfloat32")(x)


def rows(device: str) -> np.ndarray:
    """Sums by warps, and a stage after them that reads what others have written."""
    return gl.jit(lambda x: gnp.sum(gl.nn.softmax(x), axis=0), device=device)(X)


def columns(device: str) -> np.ndarray:
    """The same, of so many columns that each block has more than one group of them."""
    return gl.jit(lambda x: gnp.sum(gl.nn.softmax(x), axis=0), device=device)(WIDE)


def long_rows(device: str) -> np.ndarray:
    """Sums by blocks, of which each has more than one."""
    return gl.jit(gl.nn.softmax, device=device)(LONG)


def transposed(device: str) -> np.ndarray:
    """Items of two axes."""
    return gl.jit(lambda x: gnp.concatenate([x.T + 1, x.T * 2]), device=device)(X)


def scattered(device: str) -> np.ndarray:
    """Rows that are added to places which some of them share."""
    places = np.array([1, 2, 1])
    return gl.jit(lambda x: (x[:10] * 0).at[places].add(x[:3]), device=device)(X)


def training(device: str) -> np.ndarray:
    model = perceptron()
    step = model.step(device)
    data = tuple(rows[: 3 * model.batch] for rows in model.rows)
    key = gl.random.key(1)
    _, history = step.fit(
        step.init(model.params), data, model.batch, epochs=2, shuffle=key, progress=False
    )
    return history["loss"]


PROGRAMS = (products, rounded_products, rows, long_rows, transposed, scattered, training)


def on_gpu(
    program: Callable[[str], np.ndarray], form: str = "one kernel", seed: int | None = None
) -> np.ndarray:
    """Compiled anew, as what is cached was compiled without faults."""
    with settings(disable=FORMS[form], cache=False), using(Simulated(seed=seed)):
        return np.asarray(program("cuda"))


def is_right(program: Callable[[str], np.ndarray], found: np.ndarray) -> bool:
    return np.allclose(found, program("cpu"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_without_faults_all_pass(program, form):
    assert is_right(program, on_gpu(program, form))


# ---- faults


def wrapped(
    patch: Patch, owner: Any, name: str, wrong: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    patch.setattr(owner, name, wrong(getattr(owner, name)))


def barrier(old: str, new: str) -> Callable[[Patch], None]:
    """Another text for the barrier of all blocks."""

    def inject(patch: Patch) -> None:
        text = words.barrier_text()
        assert old in text
        patch.setattr("gradloom.runtime.cuda.ptx.barrier_text", lambda: text.replace(old, new))

    return inject


def no_meeting_of_threads(patch: Patch) -> None:
    patch.setattr(threads, "meet", lambda builder: None)


def waits(more: int | None) -> Callable[[Patch], None]:
    """For copies to shared memory: so many groups fewer, or for none."""

    def inject(patch: Patch) -> None:
        right = pieces.wait

        def wrong(b: ir.IRBuilder, pending: int) -> None:
            if more is not None:
                right(b, pending + more)

        patch.setattr(pieces, "wait", wrong)

    return inject


def no_groups(patch: Patch) -> None:
    patch.setattr(pieces, "commit", lambda builder: None)


def copies_beyond_edges(patch: Patch) -> None:
    """What lies outside of an operand is copied too."""

    def wrong(begin: Callable[..., None]) -> Callable[..., None]:
        def begin_wrong(filler: fill.Filler, *given: Any) -> None:
            begin(filler, *given)
            filler.inside = [ir.IntType(1)(1)] * len(filler.inside)

        return begin_wrong

    wrapped(patch, fill.Filler, "begin", wrong)


def fragments_exchanged(patch: Patch) -> None:
    """The registers of two rows of A in each other's place."""

    def wrong(multiply: Callable[..., Any]) -> Callable[..., Any]:
        return lambda cores, a, *rest: multiply(cores, [a[1], a[0], *a[2:]], *rest)

    wrapped(patch, mma.Tensors, "_multiply", wrong)


def no_meeting_of_clusters(patch: Patch) -> None:
    patch.setattr(threads, "meet_cluster", threads.meet)


def smaller(**changes: Callable[[Any], Any]) -> Callable[[Patch], None]:
    """Products that go over less than they have."""

    def inject(patch: Patch) -> None:
        def wrong(emit: Callable[..., ir.Function]) -> Callable[..., ir.Function]:
            def emit_wrong(module: ir.Module, name: str, tiled: Any, *rest: Any) -> ir.Function:
                changed = {field: of(tiled) for field, of in changes.items()}
                tiled = replace(tiled, product=replace(tiled.product, **changed))
                return emit(module, name, tiled, *rest)

            return emit_wrong

        wrapped(patch, product, "emit_product", wrong)

    return inject


def shorter_rows(patch: Patch) -> None:
    """The last elements of each row are left out, as many as are taken together."""

    def wrong(emit: Callable[..., ir.Function]) -> Callable[..., ir.Function]:
        def emit_wrong(module: ir.Module, name: str, spread: Any, *rest: Any) -> ir.Function:
            own = spread.nest
            if own.reduced:
                sizes = (*own.sizes[:-1], own.sizes[-1] - WIDTH)
                spread = replace(spread, nest=replace(own, sizes=sizes))
            return emit(module, name, spread, *rest)

        return emit_wrong

    wrapped(patch, nest, "emit_nest", wrong)


def share(late: int = 0, more: int = 0) -> Callable[[Patch], None]:
    """All blocks but the first begin so many items late, and end so many later than they should."""

    def inject(patch: Patch) -> None:
        right = EMITTERS["share"]
        ends = itertools.cycle((False, True))  # a call asks for the first item, then for the last

        def wrong(b: ir.IRBuilder, extent: ir.Value, grain: ir.Value, at: ir.Value) -> ir.Value:
            found = right(b, extent, grain, at)
            moved = b.add(found, I64(more if next(ends) else late))
            moved = b.select(b.icmp_signed("<", moved, extent), moved, extent)
            return b.select(b.icmp_signed("==", at, I64(0)), found, moved)

        patch.setitem(EMITTERS, "share", wrong)

    return inject


def wrong_lane(patch: Patch) -> None:
    """A warp that combines each value with its own, instead of its neighbour's."""

    def wrong(shuffle: Callable[..., ir.Value]) -> Callable[..., ir.Value]:
        return lambda b, value, distance: shuffle(b, value, distance & ~1)

    wrapped(patch, threads, "_shuffle", wrong)


def store_behind(patch: Patch) -> None:

    def wrong(store: Callable[..., None]) -> Callable[..., None]:
        return lambda memory, operand, at, *rest: store(memory, operand, at + 1, *rest)

    wrapped(patch, element._Memory, "store", wrong)


def half_an_arena(patch: Patch) -> None:
    def wrong(deal: Callable[..., Any]) -> Callable[..., Any]:
        def dealt(*given: Any) -> Any:
            found = deal(*given)
            return replace(found, plan=replace(found.plan, arena_bytes=found.plan.arena_bytes // 2))

        return dealt

    wrapped(patch, gradloom.plan.device, "for_device", wrong)


def wider_axes(patch: Patch) -> None:
    """Items are counted as if the last axis had one index more."""

    def wrong(unravelled: Callable[..., list[ir.Value]]) -> Callable[..., list[ir.Value]]:
        return lambda b, number, sizes: unravelled(b, number, [*sizes[:-1], sizes[-1] + 1])

    wrapped(patch, threads, "unravelled", wrong)


def all_axes_free(patch: Patch) -> None:
    """Threads take points whose places others write, too."""

    def free(own: Any) -> tuple[int, ...]:
        return tuple(range(len(own.sizes) - own.reduced))

    patch.setattr(spread, "free_axes", free)


@dataclass(frozen=True)
class Fault:
    inject: Callable[[Patch], None]
    program: Callable[[str], np.ndarray]
    found: str  # in the interpreter's words, or nothing where numbers are wrong
    form: str = "one kernel"
    seed: int | None = None  # where it shows only if blocks do not keep pace


FENCE = '  fence syncscope("device") acq_rel\n'
WAIT = "br i1 %same, label %look, label %done"
OTHERS = "sub i64 %blocks, 1"
BEHIND = "which has"
FAULTS = {
    "a barrier of blocks without its fences": Fault(barrier(FENCE, ""), rows, "race"),
    "a barrier of blocks that waits for nobody": Fault(
        barrier(WAIT, "br label %done"), rows, "race", seed=0
    ),
    "a barrier that one block too few ends": Fault(
        barrier(OTHERS, "sub i64 %blocks, 2"), rows, "race"
    ),
    "a barrier that one block too many must come to": Fault(
        barrier(OTHERS, "sub i64 %blocks, 0"), rows, "spin for ever"
    ),
    "a barrier of threads alone for a cluster": Fault(
        no_meeting_of_clusters, rows, "race", "one cluster"
    ),
    "no barrier of threads in products": Fault(no_meeting_of_threads, products, "race"),
    "no barrier of threads in long rows": Fault(no_meeting_of_threads, long_rows, "race"),
    "copies that nobody waits for": Fault(waits(None), products, "not waited for"),
    "a wait for a group of copies too few": Fault(waits(1), products, "not waited for"),
    "a wait for a group too few before tensor cores": Fault(
        waits(1), rounded_products, "not waited for"
    ),
    "no group of copies": Fault(no_groups, products, "not waited for"),
    "copies from outside of an operand": Fault(copies_beyond_edges, products, BEHIND),
    "fragments in a wrong order": Fault(fragments_exchanged, rounded_products, ""),
    "a row of a tile too few": Fault(smaller(rows=lambda t: t.product.rows - 1), products, ""),
    "a column of a tile too few": Fault(
        smaller(columns=lambda t: t.product.columns - 1), products, ""
    ),
    "a row of a tile too many": Fault(smaller(rows=lambda t: t.product.rows + 1), products, BEHIND),
    "one element of the depth too few": Fault(
        smaller(depth=lambda t: (*t.product.depth[:-1], t.product.depth[-1] - 1)), products, ""
    ),
    "one piece of the depth too few": Fault(
        smaller(depth=lambda t: (*t.product.depth[:-1], t.product.depth[-1] - t.tile.depth)),
        products,
        "",
    ),
    "a vector of rows too few": Fault(shorter_rows, rows, ""),
    "a vector of long rows too few": Fault(shorter_rows, long_rows, ""),
    "an item left out between two blocks": Fault(share(late=1), rows, ""),
    "an item too few in each block": Fault(share(more=-1), rows, ""),
    "an item that two blocks have": Fault(share(more=1), rows, "race"),
    "an item too few of a launch": Fault(share(more=-1), rows, "", "launches"),
    "the value of a wrong lane": Fault(wrong_lane, rows, ""),
    "stores one element further": Fault(store_behind, rows, ""),
    "stores behind the arena": Fault(half_an_arena, rows, BEHIND),
    "threads that add to one place": Fault(all_axes_free, scattered, "race"),
    "a wrong size of an axis": Fault(wider_axes, transposed, BEHIND),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name, monkeypatch):
    fault = FAULTS[name]
    fault.inject(monkeypatch)
    if fault.found:
        with pytest.raises(PtxError, match=fault.found):
            on_gpu(fault.program, fault.form, fault.seed)
    else:
        assert not is_right(fault.program, on_gpu(fault.program, fault.form, fault.seed))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_blocks_that_do_not_keep_pace_give_the_same_bits(program, seed):
    np.testing.assert_array_equal(on_gpu(program, seed=seed), on_gpu(program))


MEETING = re.compile(r"^( *)meet\(control, team\)  # (reads .*)$", re.MULTILINE)


@pytest.mark.parametrize(
    ("program", "form"), [(rows, "one kernel"), (rows, "graphs"), (training, "one kernel")]
)
def test_each_meeting_of_blocks_is_needed(program, form, monkeypatch):
    """One after the other is taken out of the driver: those before a stage that reads what blocks
    have written before.  (One that keeps a place from being written too early may be spared by
    chance: where one block alone does both.)"""
    right = Cuda.text
    texts: list[str] = []

    def without(number: int) -> Callable[..., str]:
        def text(self: Cuda, plan: Any) -> str:
            whole = right(self, plan)
            at = list(MEETING.finditer(whole))[number]
            texts.append(whole)
            return whole[: at.start()] + at[1] + "pass" + whole[at.end() :]

        return text

    number = 0
    while not texts or number < len(MEETING.findall(texts[-1])):
        monkeypatch.setattr(Cuda, "text", without(number))
        with pytest.raises(PtxError, match="race"):
            on_gpu(program, form)
        number += 1


@pytest.mark.parametrize("program", [products, long_rows, columns], ids=lambda p: p.__name__)
def test_each_barrier_of_threads_is_needed(program, monkeypatch):
    right = threads.meet
    number = calls = 0

    def meet(builder: ir.IRBuilder) -> None:
        nonlocal calls
        calls += 1
        if calls != number + 1:
            right(builder)

    monkeypatch.setattr(threads, "meet", meet)
    while not calls or number < calls:
        calls = 0
        with pytest.raises(PtxError, match="race"):
            on_gpu(program)
        number += 1
