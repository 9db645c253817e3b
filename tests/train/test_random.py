"""The cipher against its published answers, the numbers against their distributions, and traced
keys against concrete ones."""

import math

import numpy as np
import pytest

from gradloom.errors import DtypeError, ShapeError
from gradloom.frontend.tensor import Tensor
from gradloom.frontend.trace import EAGER, Trace, recording
from gradloom.ir.graph import Graph
from gradloom.ir.interpret import interpret
from gradloom.ir.source import parameter
from gradloom.ir.types import TensorType
from gradloom.train import random

# Random123's kat_vectors for threefry2x32 with 20 rounds: key, counter, result.
KNOWN = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]
DRAWS = {
    "split": lambda key: random.split(key, 3),
    "fold_in": lambda key: random.fold_in(key, 12),
    "bits": lambda key: random.bits(key, (3, 4)),
    "bits of one": random.bits,
    "uniform": lambda key: random.uniform(key, (5,)),
    "uniform float64": lambda key: random.uniform(key, (2, 3), "float64", -1.0, 2.0),
    "randint": lambda key: random.randint(key, (4, 5), -3, 1000),
    "bernoulli": lambda key: random.bernoulli(key, 0.3, (20,)),
    "normal": lambda key: random.normal(key, (6, 2)),
    "normal float64": lambda key: random.normal(key, (6, 2), np.float64),
    "categorical": lambda key: random.categorical(key, np.log([[0.2, 0.8], [0.5, 0.5]])),
    "a key of keys": lambda key: random.uniform(random.split(key)[1], (3,)),
}


def traced(function, *arrays):
    """The value of `function` by way of a graph."""
    trace = Trace()
    with recording(trace):
        inputs = [parameter(TensorType(a.shape, a.dtype.name)) for a in arrays]
        out = function(*map(Tensor, inputs))
    captured, hidden = zip(*trace.captured.values(), strict=True) if trace.captured else ((), ())
    return interpret(Graph((*inputs, *hidden), (out.node,)), *arrays, *captured)[0]


def draw(name, number=200_000, seed=1):
    return getattr(random, name)(random.key(seed), (number,), "float64")


@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN)
def test_known_answers(key, counter, expected):
    words = [np.array([word], "uint32") for word in counter]
    found = random._threefry(np.array(key, "uint32"), *words)
    assert tuple(int(word[0]) for word in found) == expected


@pytest.mark.parametrize("name", DRAWS)
def test_traced_keys_give_the_same_bits(name):
    key = random.key(2**40 + 5)
    expected = DRAWS[name](key)
    found = traced(DRAWS[name], key)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_in_eager_mode_numbers_are_arrays():
    with recording(EAGER):
        assert isinstance(random.normal(random.key(0), (3,)), np.ndarray)


@pytest.mark.parametrize("name", ["bits", "uniform", "normal"])
def test_an_element_depends_on_its_number_only(name):
    function = getattr(random, name)
    few, many = function(random.key(3), (10,)), function(random.key(3), (7, 11))
    np.testing.assert_array_equal(few, many.ravel()[:10])


def test_folding_in_is_one_of_a_split():
    key = random.key(9)
    keys = random.split(key, 4)
    for data in (0, 3, np.int32(2)):
        np.testing.assert_array_equal(random.fold_in(key, data), keys[int(data)])
    step = np.array(3, "int32")
    np.testing.assert_array_equal(traced(random.fold_in, key, step), keys[3])


def test_jax_gives_the_same_bits():
    jax = pytest.importorskip("jax")
    theirs, ours = jax.random.PRNGKey(7, impl="threefry2x32"), random.key(7)
    with jax.threefry_partitionable(True):  # noqa: FBT003 (JAX's signature)
        pairs = [
            (theirs, ours),
            (jax.random.bits(theirs, (3, 5)), random.bits(ours, (3, 5))),
            (jax.random.split(theirs, 5), random.split(ours, 5)),
            (jax.random.fold_in(theirs, 99), random.fold_in(ours, 99)),
        ]
    for expected, found in pairs:
        np.testing.assert_array_equal(found, np.asarray(expected))


def test_streams_of_split_keys_do_not_meet():
    keys = random.split(random.key(0), 8)
    words = np.concatenate([random.bits(key, (1000,)) for key in keys])
    assert len(np.unique(words)) > 7990  # 64 million pairs of 2**32 values


def test_every_bit_is_fair():
    words = random.bits(random.key(4), (100_000,))
    ones = np.array([(words >> place & 1).mean() for place in range(32)])
    np.testing.assert_allclose(ones, 0.5, atol=4.5 * 0.5 / math.sqrt(len(words)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform(dtype):
    x = random.uniform(random.key(5), (100_000,), dtype)
    assert x.dtype == dtype
    assert x.min() >= 0
    assert x.max() < 1
    counts = np.histogram(x, 50, (0, 1))[0]
    assert np.square(counts - 2000).sum() / 2000 < 90  # chi square, 49 degrees: 3 in 10**4
    scaled = random.uniform(random.key(5), (100_000,), dtype, 2, 6)
    assert scaled.dtype == dtype
    np.testing.assert_allclose(scaled, 2 + 4 * x, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal(dtype):
    x = random.normal(random.key(6), (200_000,), dtype)
    assert x.dtype == dtype
    assert np.isfinite(x).all()
    # Mean, variance, skewness and kurtosis, each within 4.5 of its standard errors.
    moments = [np.mean(x.astype("float64") ** k) for k in (1, 2, 3, 4)]
    errors = np.sqrt(np.array([1, 2, 15, 96]) / len(x))
    np.testing.assert_array_less(np.abs(moments - np.array([0, 1, 0, 3])), 4.5 * errors)
    for limit in (0.5, 1.0, 2.0, 3.0):
        tail = math.erfc(limit / math.sqrt(2))
        assert abs(np.mean(np.abs(x) > limit) - tail) < 4.5 * math.sqrt(tail / len(x))


def test_normal_neighbours_are_independent():
    x = draw("normal")
    assert abs(np.mean(x[1:] * x[:-1])) < 4.5 / math.sqrt(len(x))
    assert abs(np.mean(x * draw("normal", seed=2))) < 4.5 / math.sqrt(len(x))


def test_the_least_and_greatest_words_give_finite_numbers(monkeypatch):
    for word in (0, 0xFFFFFFFF):
        words = np.array([word], "uint32")
        monkeypatch.setattr(random, "_words", lambda *_, block=0, words=words: (words, words))
        for dtype in ("float32", "float64"):
            assert np.isfinite(random.normal(random.key(0), (1,), dtype)).all()
            assert random.uniform(random.key(0), (1,), dtype)[0] < 1


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-5, 5), (7, 8), (-(2**30), 2**30)])
def test_randint(low, high):
    x = random.randint(random.key(7), (20_000,), low, high)
    assert x.dtype == "int32"
    assert x.min() >= low
    assert x.max() < high
    middle = (low + high - 1) / 2
    spread = math.sqrt(((high - low) ** 2 - 1) / 12)
    assert abs(x.mean() - middle) <= 4.5 * spread / math.sqrt(len(x))
    if high - low < 20:
        assert set(x) == set(range(low, high))


def test_randint_takes_traced_bounds():
    bound = np.array(50, "int32")
    found = traced(lambda key, n: random.randint(key, (9,), 0, n), random.key(1), bound)
    np.testing.assert_array_equal(found, random.randint(random.key(1), (9,), 0, 50))


def test_bernoulli_takes_probabilities_of_any_shape():
    p = np.array([0.0, 0.3, 1.0])
    found = random.bernoulli(random.key(8), p, (50_000, 3))
    np.testing.assert_allclose(found.mean(0), p, atol=0.01)
    assert random.bernoulli(random.key(8), p).shape == (3,)
    assert random.bernoulli(random.key(8)).shape == ()


def test_categorical():
    p = np.array([0.1, 0.6, 0.3])
    logits = np.broadcast_to(np.log(p) + 5, (30_000, 3))
    found = random.categorical(random.key(9), logits)
    assert found.shape == (30_000,)
    np.testing.assert_allclose(np.bincount(found) / len(found), p, atol=0.012)
    turned = random.categorical(random.key(9), np.zeros((3, 7)), axis=0)
    assert turned.shape == (7,)


def test_permutation():
    order = random.permutation(random.key(10), 1000)
    assert sorted(order) == list(range(1000))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.15
    x = np.arange(12).reshape(3, 4)
    columns = random.permutation(random.key(11), x, axis=-1)
    np.testing.assert_array_equal(np.sort(columns, 1), x)
    np.testing.assert_array_equal(random.permutation(random.key(11), x).sum(0), x.sum(0))
    shuffled = traced(lambda key, x: random.permutation(key, x, 1), random.key(11), x)
    np.testing.assert_array_equal(shuffled, columns)
    assert traced(lambda key: random.permutation(key, 1000), random.key(10)).tolist() == [*order]


def test_what_is_refused():
    with pytest.raises(DtypeError, match="a key is uint32"):
        random.normal(0, (3,))
    with pytest.raises(DtypeError, match="random floats of dtype int32"):
        random.uniform(random.key(0), (3,), "int32")
    with pytest.raises(DtypeError, match="randint of dtype float32"):
        random.randint(random.key(0), (3,), 0, 5, "float32")
    with pytest.raises(ShapeError, match="split the key"):
        random.bits(random.key(0), (2**16, 2**16))
    with pytest.raises(ShapeError, match="must exceed"):
        random.randint(random.key(0), (3,), 5, 5)
