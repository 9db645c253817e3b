"""The training step: the same numbers as eager, in place, with nothing allocated."""

import gc
import tracemalloc

import numpy as np
import pytest

import gradloom as gl
from gradloom import data, pipeline
from gradloom.clock import Clock
from gradloom.codegen import driver
from gradloom.frontend.pytree import flatten
from gradloom.runtime import native
from tests.train.models import XOR, blobs, cross_entropy, network, squared

OPTIMIZERS = {
    "sgd": gl.optim.sgd(0.1),
    "momentum": gl.optim.momentum(0.05),
    "nesterov": gl.optim.nesterov(0.05),
    "adam": gl.optim.adam(1e-2),
    "adamw": gl.optim.adamw(1e-2, weight_decay=0.1),
}


def images(source, rows):
    split = source()
    return split.x[:rows].astype("float64"), split.y[:rows]


def both_ways(step, params, xs, ys):
    """Losses and final parameters of one run, compiled and eager."""
    state, losses = step.run(step.init(params), xs, ys)
    with gl.eager():
        meant_state, meant = step.run(step.init(params), xs, ys)
    return losses, state.params, meant, meant_state.params


def assert_trees_close(got, meant, rtol):
    for a, b in zip(flatten(got)[0], flatten(meant)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_xor_follows_the_eager_losses_for_100_steps(name):
    step = gl.train_step(squared, OPTIMIZERS[name])
    xs, ys = (np.repeat(a[None], 100, 0) for a in XOR)
    got, params, meant, meant_params = both_ways(step, network((2, 8, 1), "float64"), xs, ys)
    np.testing.assert_allclose(got, meant, rtol=1e-10)
    assert_trees_close(params, meant_params, 1e-10)
    assert got[-1] < got[0]


@pytest.mark.parametrize(
    ("source", "sizes"),
    [(data.digits, (64, 128, 64, 10)), (data.mnist, (784, 128, 10))],
    ids=["digits", "mnist"],
)
def test_real_images_follow_the_eager_losses_for_100_steps(source, sizes):
    x, y = images(source, 1280)
    xs, ys = (np.concatenate([a.reshape(20, 64, *a.shape[1:])] * 5) for a in (x, y))
    step = gl.train_step(cross_entropy, gl.optim.adam(1e-3))
    got, params, meant, meant_params = both_ways(step, network(sizes, "float64"), xs, ys)
    np.testing.assert_allclose(got, meant, rtol=1e-10)
    assert_trees_close(params, meant_params, 1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_is_its_steps_to_the_bit(dtype):
    x, y = blobs(96, 5, 3, dtype)
    xs, ys = x.reshape(6, 16, 5), y.reshape(6, 16)
    step = gl.train_step(cross_entropy, gl.optim.adam(1e-2))
    state, losses = step.run(step.init(network((5, 7, 3), dtype)), xs, ys)
    one_by_one = step.init(network((5, 7, 3), dtype))
    for i in range(6):
        one_by_one, loss = step(one_by_one, xs[i], ys[i])
        assert loss == losses[i]
        assert loss.dtype == dtype
    for a, b in zip(state.storage.views, one_by_one.storage.views, strict=True):
        np.testing.assert_array_equal(a, b)
    assert state.steps == one_by_one.steps == 6


def test_arrays_of_a_batch_may_have_different_numbers_of_rows():
    def loss(params, x, table):
        return ((table @ params["w"]).sum() - (x @ params["w"]).mean()) ** 2

    rng = np.random.default_rng(0)
    x, table = rng.normal(size=(4, 7, 3)), rng.normal(size=(4, 2, 3))
    step = gl.train_step(loss, gl.optim.sgd(0.1))
    start = {"w": np.ones(3)}
    _, run = step.run(step.init(start), x, table)
    state, losses = step.init(start), []
    for row, other in zip(x, table, strict=True):
        state, value = step(state, row, other)
        losses.append(value)
    np.testing.assert_array_equal(run, losses)


def test_fifty_learning_rates_are_one_compilation():
    x, y = blobs(16, 5, 3, "float32")
    losses = set()
    before = pipeline.COMPILED["programs"]
    for rate in np.geomspace(1e-4, 1e-1, 50):
        step = gl.train_step(cross_entropy, gl.optim.adam(float(rate)))
        state = step.init(network((5, 6, 3), "float32"))
        state, _ = step(state, x, y)
        losses.add(float(step(state, x, y)[1]))
    assert pipeline.COMPILED["programs"] - before <= 1
    assert len(losses) > 40


def test_aux_comes_back_for_a_step_and_stacked_for_a_run():
    def loss(params, x):
        error = x * params["a"]
        return np.sum(error * error), {"error": error}

    step = gl.train_step(loss, gl.optim.sgd(0.1))
    state = step.init({"a": np.float64(2.0)})
    state, (value, aux) = step(state, np.arange(3.0))
    assert value == 20.0
    np.testing.assert_array_equal(aux["error"], [0.0, 2.0, 4.0])
    state, (values, aux) = step.run(state, np.ones((4, 3)))
    assert values.shape == (4,)
    assert aux["error"].shape == (4, 3)


def test_a_spent_state_is_refused_and_names_the_line():
    x, y = blobs(8, 5, 3, "float32")
    step = gl.train_step(cross_entropy, gl.optim.sgd(0.1))
    state = step.init(network((5, 3), "float32"))
    step(state, x, y)
    with pytest.raises(gl.StateError, match=r"test_step\.py.*\n  repair: use the state"):
        step(state, x, y)
    with pytest.raises(gl.StateError, match="updated it in place"):
        _ = state.params


def test_init_copies_the_parameters():
    params = network((5, 3), "float64")
    kept = params[0]["w"].copy()
    step = gl.train_step(cross_entropy, gl.optim.sgd(1.0))
    x, y = blobs(8, 5, 3, "float64")
    state, _ = step(step.init(params), x, y)
    np.testing.assert_array_equal(params[0]["w"], kept)
    assert not np.array_equal(state.params[0]["w"], kept)


def test_integer_parameters_are_refused():
    step = gl.train_step(cross_entropy, gl.optim.sgd(0.1))
    with pytest.raises(gl.DtypeError, match=r"\[0\]\.b.*int64.*floating"):
        step.init([{"w": np.ones((2, 3)), "b": np.zeros(3, int)}])


def test_ragged_stacks_are_refused():
    step = gl.train_step(cross_entropy, gl.optim.sgd(0.1))
    state = step.init(network((5, 3), "float32"))
    with pytest.raises(gl.ShapeError, match="leading axes do not agree"):
        step.run(state, np.ones((3, 8, 5), "float32"), np.ones((4, 8), int))


def test_a_loss_that_is_not_a_scalar_is_refused():
    step = gl.train_step(lambda p, x: p * x, gl.optim.sgd(0.1))
    with pytest.raises(gl.ShapeError, match=r"float64\[3\], but a gradient needs"):
        step(step.init(np.ones(3)), np.ones(3))


# ---- updates that read other state


def test_updates_that_cross_read_the_old_values():
    """Each update reads what another one overwrites: none may see the other's new value."""

    def init(params):
        return ()

    def update(grads, state, params):
        return {"a": params["b"] - params["a"], "b": params["a"] - params["b"]}, state

    swap = gl.optim.GradientTransformation(init, update)
    step = gl.train_step(lambda p, x: np.sum(p["a"] * p["b"] * x), swap)
    a, b = np.arange(5.0), np.arange(5.0) + 10
    state, _ = step(step.init({"a": a, "b": b}), np.ones(5))
    np.testing.assert_allclose(state.params["a"], b)
    np.testing.assert_allclose(state.params["b"], a)


def test_an_update_that_moves_elements_reads_the_old_ones():
    def update(grads, state, params):
        return params[::-1] - params, state

    turn = gl.optim.GradientTransformation(lambda p: (), update)
    step = gl.train_step(lambda p, x: np.sum(p * x), turn)
    state, _ = step(step.init(np.arange(40.0)), np.ones(40))
    np.testing.assert_allclose(state.params, np.arange(40.0)[::-1])


# ---- memory


def trained():
    x, y = blobs(64, 20, 4, "float32")
    step = gl.train_step(cross_entropy, gl.optim.adam(1e-3))
    state, _ = step(step.init(network((20, 48, 4), "float32")), x, y)
    return step, state, x, y


def test_a_step_allocates_nothing():
    """The native code can call no allocator, and a longer run takes no more memory than a short one
    but for the losses that it returns."""
    step, state, x, y = trained()
    program = step.program()
    built = pipeline.build(program.plan, program.driver, Clock())
    symbols = native.undefined_symbols(native.llvm.parse_assembly(built.llvm), built.object)
    assert symbols <= {"memcpy", "memset", "memmove", "sched_yield", "_GLOBAL_OFFSET_TABLE_"}

    def peak(count):
        nonlocal state
        xs, ys = (np.repeat(a[None], count, 0) for a in (x, y))
        gc.collect()
        tracemalloc.start()
        state, losses = step.run(state, xs, ys)
        found = tracemalloc.get_traced_memory()[1] - losses.nbytes
        tracemalloc.stop()
        return found

    peak(2)
    assert abs(peak(200) - peak(2)) < 512


def test_planned_bytes_are_the_bytes_touched():
    """Run on two different fillings of the arena: what differs nowhere was never written."""
    step, state, x, y = trained()
    program = step.program()
    executable = program.executable
    compiled = step.compiled(state, [x, y], flatten((x, y))[1])
    touched = np.zeros(executable.arena_bytes, bool)
    for filling in (0x5A, 0xA5):
        with gl.settings(verify=0):  # which would fill the arena itself
            frame = executable.frame()
            frame.arena[:] = filling
            executable.release(frame)
            executable([x, y], state.storage)
        touched |= frame.arena != filling
    planned = program.plan.arena_bytes
    last = int(np.flatnonzero(touched).max())
    assert planned - 64 <= last < planned
    for buffer in program.plan.buffers:
        if buffer.space == "arena":
            assert touched[buffer.offset : buffer.offset + buffer.type.nbytes].any()
    most = driver.staging(program.plan, compiled.data)[-1]
    assert most == executable.arena_bytes + executable.staging_bytes
    assert executable.frame().arena.nbytes == executable.arena_bytes
    assert executable.frame(gathering=True).arena.nbytes == most


def test_memory_limit_refuses_before_it_allocates():
    x, y = blobs(64, 20, 4, "float32")
    step = gl.train_step(cross_entropy, gl.optim.adam(1e-3), memory_limit="4KB")
    with pytest.raises(MemoryError, match=r"needs \d+ bytes .* memory_limit is 4000"):
        step(step.init(network((20, 48, 4), "float32")), x, y)


def test_verify_checks_every_step():
    x, y = blobs(16, 5, 3, "float64")
    step = gl.train_step(cross_entropy, gl.optim.adam(1e-2), verify=True)
    _, first = step(step.init(network((5, 4, 3), "float64")), x, y)
    assert np.isfinite(first)


def test_an_update_may_be_another_parameters_old_value():
    """`a` becomes the old `b`, which is itself doubled in place."""

    def update(grads, state, params):
        return {"a": params["b"] - params["a"], "b": params["b"]}, (params["b"],)

    rule = gl.optim.GradientTransformation(lambda p: (p["b"] * 0,), update)
    step = gl.train_step(lambda p, x: np.sum(p["a"] * p["b"] * x), rule)
    state, _ = step(step.init({"a": np.zeros(5), "b": np.arange(5.0)}), np.ones(5))
    np.testing.assert_array_equal(state.params["a"], np.arange(5.0))
    np.testing.assert_array_equal(state.params["b"], 2 * np.arange(5.0))
    np.testing.assert_array_equal(state.optimizer[0], np.arange(5.0))
