"""The gradient of every example on its own, clipped and then averaged.

Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar and Zhang, Deep Learning with Differential
Privacy, CCS 2016, algorithm 1.  A mapped gradient has the batch as its first axis.
"""

import numpy as np

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, same_on_every_road


def loss(params, x, label):
    """Cross entropy of one example; `label` is a number of a class."""
    hidden = np.tanh(x @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"] + params["b2"]
    return gnp.log(gnp.sum(gnp.exp(logits))) - logits[label]


def per_example(params, xs, labels):
    return gl.vmap(gl.grad(loss), in_axes=(None, 0, 0))(params, xs, labels)


def clipped(gradient, bound):
    """A gradient of one example, scaled so that its length is at most `bound`."""
    length = gnp.sqrt(sum(gnp.sum(gradient[name] ** 2) for name in sorted(gradient)))
    scale = 1 / gnp.maximum(1, length / bound)
    return {name: g * scale for name, g in gradient.items()}


def private(params, xs, labels, bound, noise):
    """The noisy mean of algorithm 1; `noise` is a tree like `params`."""
    scaled = gl.vmap(lambda x, label: clipped(gl.grad(loss)(params, x, label), bound))(xs, labels)
    return {name: gnp.mean(scaled[name], axis=0) + noise[name] for name in params}


def lengths(params, xs, labels):
    """The norms of all gradients by Goodfellow (2015), from activations and errors alone."""
    hidden = np.tanh(xs @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"] + params["b2"]
    odds = np.exp(logits - logits.max(1, keepdims=True))
    upper = odds / odds.sum(1, keepdims=True) - np.eye(logits.shape[1])[labels]
    lower = (upper @ params["w2"].T) * (1 - hidden**2)
    squares = [(a**2).sum(1) * ((b**2).sum(1) + 1) for a, b in ((lower, xs), (upper, hidden))]
    return np.sqrt(sum(squares))


RNG = np.random.default_rng(3)
PARAMS = {
    "w1": RNG.normal(size=(4, 6)),
    "b1": RNG.normal(size=6),
    "w2": RNG.normal(size=(6, 3)),
    "b2": RNG.normal(size=3),
}
XS, LABELS = RNG.normal(size=(7, 4)), RNG.integers(0, 3, 7)
NOISE = {name: RNG.normal(size=value.shape) for name, value in PARAMS.items()}


def test_mapped_gradients_are_those_of_a_loop():
    one = gl.grad(loss)
    rows = [one(PARAMS, x, label) for x, label in zip(XS, LABELS, strict=True)]
    wanted = {name: np.stack([row[name] for row in rows]) for name in PARAMS}
    assert_close(same_on_every_road(per_example, PARAMS, XS, LABELS), wanted, 1e-12)


def test_their_mean_is_the_gradient_of_the_mean():
    def mean(params):
        return gnp.mean(gl.vmap(loss, in_axes=(None, 0, 0))(params, XS, LABELS))

    rows = per_example(PARAMS, XS, LABELS)
    wanted = {name: row.mean(axis=0) for name, row in rows.items()}
    assert_close(gl.grad(mean)(PARAMS), wanted, 1e-12)


def test_their_norms_are_those_of_activations_and_errors():
    rows = per_example(PARAMS, XS, LABELS)
    found = np.sqrt(sum((row.reshape(len(XS), -1) ** 2).sum(1) for row in rows.values()))
    np.testing.assert_allclose(found, lengths(PARAMS, XS, LABELS), rtol=1e-12)


def test_each_example_is_clipped_on_its_own():
    bound = float(np.median(lengths(PARAMS, XS, LABELS)))  # about half of them are longer
    found = same_on_every_road(private, PARAMS, XS, LABELS, bound, NOISE)
    factor = np.minimum(1, bound / lengths(PARAMS, XS, LABELS))
    rows = per_example(PARAMS, XS, LABELS)
    wanted = {
        name: np.tensordot(factor, row, 1) / len(XS) + NOISE[name] for name, row in rows.items()
    }
    assert_close(found, wanted, 1e-12)
