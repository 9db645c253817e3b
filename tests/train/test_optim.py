"""Optimizers against loops written in NumPy, and against optax where it is installed."""

import math
import tracemalloc

import numpy as np
import pytest

from gradloom.errors import DtypeError
from gradloom.frontend.pytree import flatten, tree_map, unflatten
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, Trace, lift, recording
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.train import optim
from gradloom.train.step import train_step

STEPS = 5
RULES = {
    "sgd": lambda lr: optim.sgd(lr),
    "momentum": lambda lr: optim.momentum(lr, 0.8),
    "nesterov": lambda lr: optim.nesterov(lr, 0.7),
    "adam": lambda lr: optim.adam(lr, 0.8, 0.95, 1e-6),
    "adamw": lambda lr: optim.adamw(lr, weight_decay=0.1),
    "clipped": lambda lr: optim.chain(optim.clip_by_global_norm(0.5), optim.sgd(lr)),
}
DTYPES = ["float32", "float64"]
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
SCHEDULES = {
    "constant_schedule": (0.3,),
    "exponential_decay": (0.3, 4, 0.5),
    "cosine_decay_schedule": (0.3, 7, 0.1),
    "linear_schedule": (0.3, 0.1, 5),
    "warmup_cosine_decay_schedule": (0.01, 0.3, 3, 9, 0.02),
}


def params_of(dtype):
    rng = np.random.default_rng(0)
    return {"w": rng.normal(size=(3, 2)).astype(dtype), "b": [rng.normal(size=2).astype(dtype)]}


def grads_at(step, params):
    rng = np.random.default_rng(step + 1)
    return tree_map(lambda p: rng.normal(size=p.shape).astype(p.dtype), params)


def oracle(name, lr, params, steps=STEPS):
    """The parameters after `steps` updates, each array by itself, in float64."""
    leaves, structure = flatten(tree_map(lambda p: p.astype("float64"), params))
    first = [np.zeros_like(p) for p in leaves]
    second = [np.zeros_like(p) for p in leaves]
    for t in range(steps):
        rate = lr(t) if callable(lr) else lr
        grads = [g.astype("float64") for g in flatten(grads_at(t, params))[0]]
        norm = math.sqrt(sum((g * g).sum() for g in grads))
        for i, g in enumerate(grads):
            if name == "sgd":
                leaves[i] = leaves[i] - rate * g
            elif name == "clipped":
                leaves[i] = leaves[i] - rate * g * min(1.0, 0.5 / norm)
            elif name in ("momentum", "nesterov"):
                decay = 0.8 if name == "momentum" else 0.7
                first[i] = g + decay * first[i]
                step = g + decay * first[i] if name == "nesterov" else first[i]
                leaves[i] = leaves[i] - rate * step
            else:
                b1, b2, eps = (0.8, 0.95, 1e-6) if name == "adam" else (0.9, 0.999, 1e-8)
                first[i] = b1 * first[i] + (1 - b1) * g
                second[i] = b2 * second[i] + (1 - b2) * g * g
                m_hat = first[i] / (1 - b1 ** (t + 1))
                v_hat = second[i] / (1 - b2 ** (t + 1))
                step = m_hat / (np.sqrt(v_hat) + eps)
                if name == "adamw":
                    step = step + 0.1 * leaves[i]
                leaves[i] = leaves[i] - rate * step
    return unflatten(structure, leaves)


def step_of(rule):
    """One update as a function of plain trees."""

    def step(params, state, grads):
        updates, state = rule.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    return step


def graph_of(function, *trees):
    """The graph of `function`, its captured arrays and the structure of its result."""
    leaves, structure = flatten(trees)
    trace = Trace()
    with recording(trace):
        inputs = [parameter(TensorType(x.shape, x.dtype.name)) for x in map(np.asarray, leaves)]
        out, made = flatten(function(*unflatten(structure, map(Tensor, inputs))))
        nodes = tuple(map(lift, out))
    assert not trace.captured
    return Graph(tuple(inputs), nodes), made


def traced(function):
    def run(*trees):
        graph, made = graph_of(function, *trees)
        return unflatten(made, interpret(graph, *flatten(trees)[0]))

    return run


def trained(rule, params, wrap=lambda step: step):
    step, state = wrap(step_of(rule)), rule.init(params)
    for t in range(STEPS):
        params, state = step(params, state, grads_at(t, params))
    return params, state


def assert_close(found, expected, tolerance):
    check = lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance)  # noqa: E731
    tree_map(check, found, expected)


def dtypes(tree):
    return [np.asarray(leaf).dtype.name for leaf in flatten(tree)[0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("wrap", [lambda step: step, traced], ids=["arrays", "traced"])
def test_equals_the_loop_in_numpy(name, dtype, wrap):
    params = params_of(dtype)
    found, _ = trained(RULES[name](0.1), params, wrap)
    assert_close(found, oracle(name, 0.1, params), TOLERANCE[dtype])


@pytest.mark.parametrize("name", RULES)
def test_equals_optax(name):
    optax = pytest.importorskip("optax")
    theirs = {
        "sgd": lambda: optax.sgd(0.1),
        "momentum": lambda: optax.sgd(0.1, 0.8),
        "nesterov": lambda: optax.sgd(0.1, 0.7, nesterov=True),
        "adam": lambda: optax.adam(0.1, 0.8, 0.95, 1e-6),
        "adamw": lambda: optax.adamw(0.1, weight_decay=0.1),
        "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
    }[name]()
    params = params_of("float32")
    expected, state = params, theirs.init(params)
    for t in range(STEPS):
        updates, state = theirs.update(grads_at(t, params), state, expected)
        expected = optax.apply_updates(expected, updates)
    found, _ = trained(RULES[name](0.1), params)
    assert_close(found, tree_map(np.asarray, expected), 1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_dtypes_and_structure_are_kept(name, dtype):
    params = params_of(dtype)
    rule = RULES[name](0.1)
    state = rule.init(params)
    graph, _ = graph_of(step_of(rule), params, state, params)
    for node in graph.nodes():
        assert node.type.dtype in (dtype, "int32"), node
    for wrap in (lambda step: step, traced):
        after, state_after = trained(rule, params, wrap)
        assert dtypes(after) == dtypes(params)
        assert dtypes(state_after) == dtypes(state)
        assert flatten(state_after)[1] == flatten(state)[1]


@pytest.mark.parametrize("name", RULES)
def test_fifty_learning_rates_are_one_program(name):
    params = params_of("float32")
    prints = set()
    for lr in np.geomspace(1e-4, 1, 50):
        rule = RULES[name](float(lr))
        graph, _ = graph_of(step_of(rule), params, rule.init(params), params)
        prints.add(graph.fingerprint())
    assert len(prints) == 1


def test_every_hyper_parameter_is_a_leaf_of_the_state():
    params = params_of("float64")
    state = optim.adamw(0.1, 0.8, 0.9, 1e-7, 0.01).init(params)
    assert state.hyper == {
        "learning_rate": 0.1,
        "b1": 0.8,
        "b2": 0.9,
        "eps": 1e-7,
        "weight_decay": 0.01,
    }
    graphs = {
        graph_of(step_of(rule), params, rule.init(params), params)[0].fingerprint()
        for rule in (optim.adamw(), optim.adamw(0.1, 0.8, 0.9, 1e-7, 0.01))
    }
    assert len(graphs) == 1


def test_a_learning_rate_changed_in_the_state_takes_effect():
    rule = optim.sgd(0.1)
    params = params_of("float32")
    state = rule.init(params)
    state = state._replace(hyper={**state.hyper, "learning_rate": np.float32(0.5)})
    updates, after = rule.update(params, state, params)
    assert_close(updates, tree_map(lambda p: -0.5 * p, params), 1e-6)
    assert after.hyper["learning_rate"] == 0.5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_schedules(name, schedule, dtype):
    rate = getattr(optim, schedule)(*SCHEDULES[schedule])
    params = params_of(dtype)
    for wrap in (lambda step: step, traced):
        found, state = trained(RULES[name](rate), params, wrap)
        assert dtypes(found) == dtypes(params)
        assert state.count == STEPS
        expected = oracle(name, lambda t: float(rate(np.float64(t))), params)
        assert_close(found, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_equal_optax(schedule):
    optax = pytest.importorskip("optax")
    theirs = getattr(optax, schedule)(*SCHEDULES[schedule])
    ours = getattr(optim, schedule)(*SCHEDULES[schedule])
    counts = range(12)
    expected = [float(theirs(count)) for count in counts]
    np.testing.assert_allclose([float(ours(count)) for count in counts], expected, 2e-6, 1e-8)


def test_a_staircase_is_constant_between_steps():
    rate = optim.exponential_decay(1.0, 3, 0.5, staircase=True)
    assert [float(rate(count)) for count in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_small_gradients_are_not_clipped():
    rule = optim.clip_by_global_norm(100.0)
    params = params_of("float32")
    updates, _ = rule.update(params, rule.init(params))
    tree_map(np.testing.assert_array_equal, updates, params)
    nothing = tree_map(np.zeros_like, params)
    tree_map(np.testing.assert_array_equal, rule.update(nothing, rule.init(params))[0], nothing)


def test_parameters_of_mixed_precision_keep_their_dtypes():
    params = {"a": np.ones(2, "float32"), "b": np.ones(3, "float64")}
    for name, make in RULES.items():
        found, _ = trained(make(0.1), params)
        assert dtypes(found) == dtypes(params), name
        assert_close(found, oracle(name, 0.1, params), 2e-5)


def test_runs_in_eager_mode():
    params = params_of("float32")
    with recording(EAGER):
        found, _ = trained(optim.adam(0.1, 0.8, 0.95, 1e-6), params)
    assert_close(found, oracle("adam", 0.1, params), 2e-5)


def test_a_whole_number_is_no_parameter():
    with pytest.raises(DtypeError, match=r"a parameter is int64\[2\]"):
        optim.adam().init({"n": np.arange(2)})


def test_moments_take_no_memory_before_a_state_copies_them():
    params = {"w": np.ones((500, 1000), "float32")}
    tracemalloc.start()
    moments = optim.adam(0.1).init(params)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < params["w"].nbytes / 10
    np.testing.assert_array_equal(moments.mu["w"], np.zeros_like(params["w"]))
    state = train_step(lambda p, x: (p["w"] * x).sum(), optim.adam(0.1)).init(params)
    assert state.nbytes > 3 * params["w"].nbytes
