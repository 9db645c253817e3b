"""What is computed together, what is written in place, and what is never copied."""

import numpy as np
import pytest
from tests.interpreting import compiled

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.node import make
from gradloom.ir.op import OPS
from gradloom.ir.source import const, parameter
from gradloom.ir.types import TensorType
from gradloom.ops.factor import identity_like
from gradloom.pipeline import run_passes
from gradloom.plan.assemble import make_plan
from gradloom.plan.fuse import fuse
from gradloom.plan.plan import Nest, Product
from gradloom.plan.verify import verify_plan
from gradloom.tracing import Leaf, record


def planned(function, *shapes, dtype="float64"):
    leaves = [Leaf(TensorType(shape, dtype), weak=False) for shape in shapes]
    return make_plan(run_passes(record(lambda v: function(*v), leaves).graph))


def stages(plan):
    return [[type(s.code) for s in k.stages] for k in plan.kernels]


def longest(plan):
    nests = [s.code for k in plan.kernels for s in k.stages if isinstance(s.code, Nest)]
    return max(len(nest.steps) for nest in nests)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: gnp.tanh(x * 2 + 1) - gnp.exp(x),
        lambda x: (gnp.sin(x), gnp.cos(gnp.sin(x)), gnp.sin(x) + 1),
        lambda x: gnp.sum(gnp.exp(x * x), axis=1),
        lambda x: gnp.log(gnp.sum(x, axis=0)) + 1,
        lambda x: gnp.transpose(x)[::-1, 2:] * 2,
        lambda x: gnp.pad(x[1:, :-1] + 1, 2),
        lambda x: gnp.reshape(x + 1, (4, 5, 6, 5)) * 2,
        gnp.sum,
    ],
)
def test_one_kernel(function):
    plan = planned(function, (20, 30))
    assert len(plan.kernels) == 1
    assert plan.arena_bytes == 0


def test_a_product_and_what_follows_it_are_one_kernel():
    plan = planned(lambda x, w, b: gnp.tanh(x @ w + b), (64, 20), (20, 32), (32,))
    assert stages(plan) == [[Product, Nest]]
    assert plan.arena_bytes == 0  # the product is made where the result will be


def test_transposes_of_operands_cost_nothing():
    plan = planned(lambda x, y: (x.T @ y, y.T @ x, (x.T @ y).T), (20, 30), (20, 16))
    assert [kinds for kinds in stages(plan) if kinds != [Product]] in ([], [[Nest]])


def test_a_value_met_elsewhere_is_finished_first():
    """What reads a value at other places than its own may not stand in the kernel that makes it."""

    def function(x, w):
        t = np.tanh(y := x @ w)
        return y * t + gnp.flip(t, 0)

    rng = np.random.default_rng(0)
    x, w = rng.uniform(-1, 1, (70, 9)), rng.uniform(-1, 1, (9, 40))
    leaves = [Leaf(TensorType(a.shape, "float64"), weak=False) for a in (x, w)]
    graph = record(lambda v: function(*v), leaves).graph
    assert len(make_plan(run_passes(graph)).kernels) > 1
    (got,) = compiled(graph, x, w)
    np.testing.assert_allclose(got, interpret(graph, x, w)[0], 1e-13)


def test_repeated_stencils_do_not_grow_one_kernel():
    """Each point of a stencil of stencils would repeat all the inner ones."""

    def function(x):
        for _ in range(10):
            sides = x[2:, 1:-1] + x[:-2, 1:-1] + x[1:-1, 2:] + x[1:-1, :-2]
            x = x[1:-1, 1:-1] + 0.1 * sides
        return x

    assert longest(planned(function, (40, 40))) < 40


def test_costly_work_is_not_repeated_for_every_reader():
    plan = planned(lambda x, y: y * gnp.exp(gnp.tanh(x)), (30,), (40, 30))
    assert len(plan.kernels) == 2


def test_cheap_work_is_repeated_rather_than_stored():
    plan = planned(lambda x, y: y * (x + 1), (30,), (40, 30))
    assert len(plan.kernels) == 1


# ---- updates in place


def updating(*rules, shape=(8, 8)):
    """A graph of as many inputs as rules; each rule gives the new value of its input."""
    inputs = tuple(parameter(TensorType(shape, "float64")) for _ in rules)
    new = [rule(*inputs) for rule in rules]
    return Graph(inputs, (), tuple(zip(inputs, new, strict=True)))


def add(x, y):
    return make(OPS["add"], x, y)


def half(x):
    return make(OPS["multiply"], x, const(0.5, "float64"))


def turned(x):
    return make(OPS["transpose"], x, axes=(1, 0))


def assert_updates(graph):
    arrays = [np.random.default_rng(i).uniform(-1, 1, (8, 8)) for i in range(len(graph.inputs))]
    found = compiled(graph, *arrays)
    for got, want in zip(found, interpret(graph, *arrays), strict=True):
        np.testing.assert_array_equal(got, want)
    return make_plan(graph)


def test_an_elementwise_update_is_one_pass_without_memory():
    plan = assert_updates(updating(lambda x, y: add(x, half(y)), lambda x, y: half(y)))
    assert plan.arena_bytes == 0
    assert len(plan.kernels) == 1


@pytest.mark.parametrize(
    "rules",
    [
        (lambda x, y: y, lambda x, y: x),
        (lambda x, y: y, lambda x, y: add(x, y)),
        (lambda x, y: half(x), lambda x, y: x),
        (lambda x, y: half(x), lambda x, y: half(x)),
        (lambda x, y: x, lambda x, y: add(x, turned(x))),
        (lambda x: turned(x),),
        (lambda x: add(x, turned(x)),),
        (lambda x, y, z: y, lambda x, y, z: z, lambda x, y, z: x),
        (lambda x, y, z: add(y, z), lambda x, y, z: add(z, x), lambda x, y, z: add(x, y)),
        (lambda x, y: add(turned(y), x), lambda x, y: add(turned(x), y)),
    ],
)
def test_updates_see_old_values_only(rules):
    assert_updates(updating(*rules))


@pytest.mark.parametrize(("size", "passes"), [(16, 1), (512, 2)])
def test_large_gradients_are_used_as_soon_as_they_are_made(size, passes):
    """Small ones in one pass, after all products."""
    step = gl.train_step(lambda p, x: ((x @ p["v"] @ p["w"]) ** 2).mean(), gl.optim.adam())
    x = np.ones((8, size), np.float32)
    state = step.init({"v": np.ones((size, size), "f4"), "w": np.ones((size, size), "f4")})
    plan = step.program(state, x).plan
    weights = {n for n, b in enumerate(plan.buffers) if b.name in ("p_v", "p_w")}
    assert len(weights) == 2
    assert sum(bool(kernel.touched()[1] & weights) for kernel in plan.kernels) == passes
    gradients = [b for b in plan.buffers if b.space == "arena" and b.type.shape == (size, size)]
    assert len({b.offset for b in gradients}) == (2 if passes == 1 else 1)


def test_an_update_that_is_an_output_and_one_that_is_returned_as_it_was():
    x, y = (parameter(TensorType((8, 8), "float64")) for _ in range(2))
    new = half(x)
    assert_updates(Graph((x, y), (new, new, x, y), ((x, new), (y, new))))


def test_fusion_can_be_switched_off_to_find_a_fault():
    def f(x, w):
        return gnp.sum(gnp.tanh(x @ w + 1.0) * 2.0)

    with gl.settings(disable=("fuse",)):
        apart = planned(f, (4, 5), (5, 6))
    together = planned(f, (4, 5), (5, 6))
    assert len(apart.kernels) == 5  # product, add, tanh, multiply, sum
    assert len(together.kernels) < len(apart.kernels)
    x, w = np.linspace(-1, 1, 20).reshape(4, 5), np.linspace(0, 1, 30).reshape(5, 6)
    with gl.settings(disable=("fuse",)):
        found = gl.jit(f)(x, w)
    np.testing.assert_allclose(found, gl.jit(f)(x, w), rtol=1e-12)


def test_a_long_chain_is_cut_into_kernels():
    """Neither Python's stack nor the compiler's time grows with the chain."""

    def chain(x):
        for _ in range(500):
            x = gnp.sin(x) * 1.01
        return x

    plan = planned(chain, (100,))
    assert 8 <= len(plan.kernels) <= 32
    assert max(len(s.code.steps) for k in plan.kernels for s in k.stages) <= 160


def test_a_deep_network_is_planned_without_walking_it_again_and_again():
    def deep(x, w):
        for _ in range(300):
            x = gnp.tanh(x @ w + x)
        return gnp.sum(x)

    assert len(planned(deep, (4, 4), (4, 4)).kernels) == 301


def test_readers_of_one_value_are_one_pass_over_it():
    plan = planned(lambda x: (gnp.sin(x), gnp.cos(x), x + 1.0), (100,))
    assert len(plan.kernels) == 1
    assert len(plan.kernels[0].stages[0].code.stores) == 3
    (x,) = (np.linspace(-2, 2, 100),)
    found = gl.jit(lambda x: (gnp.sin(x), gnp.cos(x), x + 1.0))(x)
    for got, meant in zip(found, (np.sin(x), np.cos(x), x + 1.0), strict=True):
        np.testing.assert_allclose(got, meant, rtol=1e-15, atol=1e-15)


def test_siblings_stay_apart_where_a_third_stands_between():
    """b needs all of a in order, so the two passes over x cannot be one."""

    def f(x):
        a = gnp.exp(x)
        return a, gnp.sin(x) * gnp.sort(a)

    assert len(planned(f, (100,)).kernels) == 3


def test_single_numbers_are_computed_in_one_kernel():
    plan = planned(lambda a, b: (gnp.exp(a), gnp.sin(b), a * b), (), ())
    assert len(plan.kernels) == 1


def test_siblings_of_siblings_are_found():
    """a and b share x, b and c share y: all three are one pass, whichever pair is met first."""

    def f(x, y):
        return gnp.sin(x), gnp.cos(x) * y, gnp.exp(y), gnp.tanh(x), y + 1.0

    plan = planned(f, (50,), (50,))
    assert len(plan.kernels) == 1
    x, y = np.linspace(-1, 1, 50), np.linspace(0, 2, 50)
    for got, meant in zip(gl.jit(f)(x, y), f(x, y), strict=True):
        np.testing.assert_allclose(got, meant, rtol=1e-14)


def test_the_same_program_has_the_same_plan_every_time():
    """Nodes lie elsewhere in memory each time; no decision may hang on it, or caches would miss."""

    def f(x, y, w):
        h = gnp.tanh(x @ w) + y
        return gnp.sum(gnp.log_softmax(h) * y), gnp.sin(x), gnp.cos(x) * 2.0, gnp.exp(y), y + h

    def model(x, y, w):
        return gl.grad(lambda w: f(x, y, w)[0])(w), *f(x, y, w)

    kept = []  # so that no address is used again
    for _ in range(8):
        kept.append([parameter(TensorType((3,), "float32")) for _ in range(50)])
        kept.append(planned(model, (20, 6), (20, 7), (6, 7)))
    plans = kept[1::2]
    assert all(repr(p.kernels) == repr(plans[0].kernels) for p in plans)
    assert all(p.arena_bytes == plans[0].arena_bytes for p in plans)


def test_what_follows_from_a_cheap_value_in_memory_follows_its_kernel():
    """A mask that is a result is written by a kernel, which whoever reads it there must follow,
    though it could be computed from nothing."""

    def masked(x):
        mask = identity_like(x)
        return mask, gnp.where(mask == 0, gnp.exp(x @ x), 1.0)

    leaves = [Leaf(TensorType((4, 4), "float64"), weak=False)]
    graph = run_passes(record(lambda v: masked(*v), leaves).graph)
    groups = fuse(graph)
    (writer,) = [g for g in groups if graph.outputs[0] in g.stored]
    (reader,) = [g for g in groups if graph.outputs[1] in g.stored]
    assert writer is reader or writer.bits & reader.before
    gl.jit(masked, verify=True)(np.arange(16.0).reshape(4, 4))


def test_a_fold_of_one_element_stays_within_what_guards_it():
    plan = planned(lambda x: gnp.pad(x.max(-1), 2), (33, 1))
    assert len(plan.kernels) == 1
    verify_plan(plan)
    padded = gl.jit(lambda x: gnp.pad(x.max(-1), 2), verify=True)(np.arange(33.0)[:, None])
    np.testing.assert_array_equal(padded, np.pad(np.arange(33.0), 2))
