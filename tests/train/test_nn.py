"""Layers, losses and special functions against NumPy and SciPy, and their gradients against
differences, by way of a graph and of the eager tape."""

import math

import numpy as np
import pytest

from gradloom import special
from gradloom.autodiff.reverse import mark, pull
from gradloom.errors import ShapeError
from gradloom.frontend.pytree import flatten, tree_map
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, Trace, lift, recording
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.op import Kind
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.train import nn, random

scipy_special = pytest.importorskip("scipy.special")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6)) * 2
LABELS = np.array([0, 5, 2, 2])
P = scipy_special.softmax(RNG.normal(size=(4, 6)), axis=-1)
KEY = random.key(3)


def numpy_cross_entropy(logits, p):
    return -(p * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum(-1)


# name -> (function, the same in NumPy, an array)
FUNCTIONS = {
    "relu": (nn.relu, lambda x: np.maximum(x, 0), X),
    "leaky_relu": (nn.leaky_relu, lambda x: np.maximum(x, 0.01 * x), X),
    "sigmoid": (nn.sigmoid, lambda x: 1 / (1 + np.exp(-x)), X),
    "softplus": (nn.softplus, lambda x: np.log(1 + np.exp(x)), X),
    "tanh": (nn.tanh, np.tanh, X),
    "silu": (nn.silu, lambda x: x / (1 + np.exp(-x)), X),
    "gelu": (
        nn.gelu,
        lambda x: x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        X,
    ),
    "exact gelu": (
        lambda x: nn.gelu(x, approximate=False),
        lambda x: x * scipy_special.ndtr(x),
        X,
    ),
    "softmax": (nn.softmax, lambda x: scipy_special.softmax(x, axis=-1), X),
    "log_softmax": (nn.log_softmax, lambda x: scipy_special.log_softmax(x, axis=-1), X),
    "cross entropy of integers": (
        lambda x: nn.softmax_cross_entropy(x, LABELS),
        lambda x: numpy_cross_entropy(x, np.eye(6)[LABELS]),
        X,
    ),
    "cross entropy of probabilities": (
        lambda x: nn.softmax_cross_entropy(x, P),
        lambda x: numpy_cross_entropy(x, P),
        X,
    ),
    "sigmoid_binary_cross_entropy": (
        lambda x: nn.sigmoid_binary_cross_entropy(x, P),
        lambda x: P * np.log(1 + np.exp(-x)) + (1 - P) * np.log(1 + np.exp(x)),
        X,
    ),
    "squared_error": (lambda x: nn.squared_error(x, P), lambda x: (x - P) ** 2, X),
    "l2_loss": (nn.l2_loss, lambda x: x**2 / 2, X),
    "huber_loss": (
        lambda x: nn.huber_loss(x, P, 0.7),
        lambda x: scipy_special.huber(0.7, x - P),
        X,
    ),
    "layer_norm": (
        lambda x: nn.layer_norm(x, P, 0.5),
        lambda x: (
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6) * P + 0.5
        ),
        X,
    ),
    "layer_norm of all": (
        lambda x: nn.layer_norm(x, axis=(0, 1)),
        lambda x: (x - x.mean()) / np.sqrt(x.var() + 1e-6),
        X,
    ),
    "dropout": (
        lambda x: nn.dropout(KEY, x, 0.4),
        lambda x: np.where(random.uniform(KEY, x.shape) < 0.6, x / 0.6, 0),
        X,
    ),
    "mlp": (
        lambda x: nn.mlp([{"w": P.T, "b": LABELS * 0.1}, {"w": P}], x, nn.tanh),
        lambda x: np.tanh(x @ P.T + LABELS * 0.1) @ P,
        X,
    ),
    "erf": (special.erf, scipy_special.erf, X),
    "expit": (special.expit, scipy_special.expit, X),
    "expm1": (special.expm1, scipy_special.expm1, X),
    "log1p": (special.log1p, scipy_special.log1p, P),
    "log_expit": (special.log_expit, scipy_special.log_expit, X),
    "logit": (special.logit, scipy_special.logit, P),
    "logit of more": (special.logit, scipy_special.logit, 1 - P),
    "logsumexp": (special.logsumexp, scipy_special.logsumexp, X),
    "softmax of all": (special.softmax, scipy_special.softmax, X),
    "log_softmax of all": (special.log_softmax, scipy_special.log_softmax, X),
    "xlogy": (lambda x: special.xlogy(x, P), lambda x: scipy_special.xlogy(x, P), X),
    "xlogy by y": (lambda y: special.xlogy(X, y), lambda y: scipy_special.xlogy(X, y), P),
    "entr": (special.entr, scipy_special.entr, P),
}


def graph_of(function, *arrays):
    """The graph of `function`, and the arrays that it closes over."""
    trace = Trace()
    with recording(trace):
        inputs = [parameter(TensorType(a.shape, a.dtype.name)) for a in arrays]
        out = tuple(map(lift, flatten(function(*map(Tensor, inputs)))[0]))
    captured = list(trace.captured.values())
    return Graph((*inputs, *(node for _, node in captured)), out), [a for a, _ in captured]


def traced(function):
    def run(*arrays):
        graph, captured = graph_of(function, *arrays)
        return interpret(graph, *arrays, *captured)

    return run


def projected(function, weights):
    """A scalar with a gradient that has no symmetry, and that gradient."""

    def both(x):
        (marked,) = mark([x])
        out = function(marked)
        (gradient,) = pull([out], [marked], [weights])
        return out, gradient

    return both


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    function, expected, x = FUNCTIONS[name]
    tolerance = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(function(x), expected(x), **tolerance)
    np.testing.assert_allclose(traced(function)(x)[0], expected(x), **tolerance)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name):
    function, expected, x = FUNCTIONS[name]
    rng = np.random.default_rng(1)
    weights, direction = rng.normal(size=np.shape(expected(x))), rng.normal(size=x.shape)
    both = projected(function, weights)
    _, gradient = traced(both)(x)
    h = 1e-5
    slope = ((expected(x + h * direction) - expected(x - h * direction)) * weights).sum() / (2 * h)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-7)
    with recording(EAGER):
        _, eager = both(x)
    np.testing.assert_allclose(eager, gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        *(nn.relu, nn.leaky_relu, nn.sigmoid, nn.softplus, nn.tanh, nn.silu, nn.gelu),
        *(nn.softmax, nn.log_softmax, nn.l2_loss, nn.huber_loss, nn.layer_norm),
        *(special.erf, special.logit, special.entr, special.log_expit, special.logsumexp),
        lambda x: nn.gelu(x, approximate=False),
        lambda x: nn.softmax_cross_entropy(x, LABELS),
        lambda x: nn.sigmoid_binary_cross_entropy(x, x > 0.1),
        lambda x: nn.dropout(KEY, x, 0.5),
        lambda x: nn.linear(nn.linear_init(KEY, 6, 3), x),
    ],
)
def test_float32_stays_float32(function):
    x = P.astype("float32")
    assert function(x).dtype == "float32"
    both = projected(function, np.ones(np.shape(function(x)), "float32"))
    graph, _ = graph_of(both, x)
    assert not [node for node in graph.nodes() if node.type.dtype == "float64"]


def test_cross_entropy_of_integers_needs_no_gather():
    both = projected(lambda x: nn.softmax_cross_entropy(x, LABELS), np.ones(4))
    graph, _ = graph_of(both, X)
    assert not {node.op.kind for node in graph.nodes()} & {Kind.GATHER, Kind.SCATTER}
    _, gradient = traced(both)(X)
    np.testing.assert_allclose(gradient, nn.softmax(X) - np.eye(6)[LABELS], atol=1e-14)


def test_cross_entropy_takes_traced_labels_of_any_integer_dtype():
    expected = nn.softmax_cross_entropy(X, LABELS)
    for dtype in ("int32", "int64", "uint32"):
        found = traced(nn.softmax_cross_entropy)(X, LABELS.astype(dtype))[0]
        np.testing.assert_allclose(found, expected)
    assert nn.softmax_cross_entropy(X[0], 3).shape == ()


def test_cross_entropy_is_finite_for_large_logits():
    found = nn.softmax_cross_entropy(np.array([[1e4, 0.0, -1e4]]), [2])
    np.testing.assert_allclose(found, [2e4])


def test_labels_that_do_not_fit_are_refused():
    for labels in (LABELS[:3], LABELS.astype("float64"), P[:, :5]):
        with pytest.raises(ShapeError, match=r"for logits \[4, 6\]"):
            nn.softmax_cross_entropy(X, labels)


def test_dropout_keeps_the_mean_and_nothing_at_rate_0():
    x = np.ones((100, 1000), "float32")
    found = nn.dropout(KEY, x, 0.3)
    assert abs(found.mean() - 1) < 0.01
    assert abs((found == 0).mean() - 0.3) < 0.01
    assert nn.dropout(KEY, x, 0) is x


def test_dropout_with_a_traced_key_and_rate():
    rate = np.array(0.4)
    found = traced(nn.dropout)(KEY, X, rate)[0]
    np.testing.assert_allclose(found, nn.dropout(KEY, X, 0.4))


@pytest.mark.parametrize(
    ("function", "variance"),
    [
        (nn.glorot_uniform, lambda m, n: 2 / (m + n)),
        (nn.glorot_normal, lambda m, n: 2 / (m + n)),
        (nn.he_uniform, lambda m, n: 2 / m),
        (nn.he_normal, lambda m, n: 2 / m),
        (nn.lecun_normal, lambda m, n: 1 / m),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_weights(function, variance, dtype):
    for shape, fans in [((300, 200), (300, 200)), ((3, 3, 40, 60), (360, 540))]:
        w = function(KEY, shape, dtype)
        assert w.dtype == dtype
        assert w.shape == shape
        assert abs(w.var() / variance(*fans) - 1) < 0.04
        assert abs(w.mean()) < 4.5 * math.sqrt(variance(*fans) / w.size)
    with pytest.raises(ShapeError, match="no fan in"):
        function(KEY, (5,))


def test_parameters_of_an_mlp():
    params = nn.mlp_init(KEY, (5, 8, 8, 2), "float64", nn.he_normal)
    assert tree_map(np.shape, params) == [
        {"w": (5, 8), "b": (8,)},
        {"w": (8, 8), "b": (8,)},
        {"w": (8, 2), "b": (2,)},
    ]
    weights = [layer["w"] for layer in params]
    assert len({w.flat[0] for w in weights}) == 3
    found = traced(lambda key: nn.mlp_init(key, (5, 8, 8, 2), "float64", nn.he_normal))(KEY)
    for w, expected in zip(found, flatten(params)[0], strict=True):
        np.testing.assert_allclose(w, expected)


def test_special_functions_at_the_edges():
    with np.errstate(all="ignore"):
        edges = np.array([-np.inf, -1.0, -0.0, 0.0, 1e-300, 0.5, 1.0, 2.0, np.inf, np.nan])
        x, y = np.meshgrid(edges, edges)
        np.testing.assert_array_equal(special.xlogy(x, y), scipy_special.xlogy(x, y))
        np.testing.assert_array_equal(special.entr(edges), scipy_special.entr(edges))
        p = np.array([0.0, 1e-300, 0.35, 0.65, 1.0, np.nan, 1.5, -0.5])
        np.testing.assert_allclose(special.logit(p), scipy_special.logit(p), rtol=1e-15)


def test_logit_is_accurate():
    mpmath = pytest.importorskip("mpmath")
    p = np.concatenate([np.linspace(0.001, 0.999, 501), 0.5 + np.geomspace(1e-15, 0.2, 99)])
    with mpmath.workdps(40):
        exact = np.array([float(mpmath.log(mpmath.mpf(q) / (1 - mpmath.mpf(q)))) for q in p])
    np.testing.assert_array_less(np.abs(special.logit(p) - exact), 4 * np.spacing(np.abs(exact)))


def test_the_slope_of_xlogy_at_0():
    both = projected(lambda x: special.xlogy(x, np.array([2.0, 0.0])), np.ones(2))
    _, gradient = traced(both)(np.zeros(2))
    np.testing.assert_allclose(gradient, [math.log(2), 0])
