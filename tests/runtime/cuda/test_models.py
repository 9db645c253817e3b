"""Every model that is benchmarked, trained on the GPU that there is, against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.models import Model
from benchmarks.words import of_gradloom
from tests import gpus
from tests.tiny_models import MODELS, TINY, tiny

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.errors import DeviceError
from gradloom.frontend.pytree import flatten
from gradloom.runtime.cuda.machine import using
from gradloom.settings import settings

pytestmark = pytest.mark.gpu
# One kernel also where launches should take less.
FORMS = {**gpus.FORMS, "one kernel": ("clusters", "graphs")}
BATCHES = 3  # of a model in its full size
HOST = ("process",)  # what calls LAPACK, which programs on a GPU refuse

each_form = pytest.mark.parametrize("form", FORMS)
each_model = pytest.mark.parametrize("name", [name for name in TINY if name not in HOST])


def results(model: Model, device: str) -> list[np.ndarray]:
    """The losses and what was learned; or, of what is not trained, what it gives."""
    loss = model.loss(of_gradloom())
    if not model.optimizer:
        function = gl.jit(loss, device=device)
        batches = zip(*model.batches, strict=True)
        return _leaves([function(model.params, *batch) for batch in batches])
    rule = {"adam": gl.optim.adam, "sgd": gl.optim.sgd}[model.optimizer](model.rate)
    step = gl.train_step(loss, rule, device=device)
    state, losses = step.run(step.init(model.params), *model.batches)
    return _leaves([losses, state.params])


def _leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in flatten(tree)[0]]


def assert_alike(found: list[np.ndarray], wanted: list[np.ndarray], tolerance: float) -> None:
    """Within a share of the largest number of each array: Adam divides by roots of small sums."""
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == want.dtype
        scale = max(float(np.abs(want).max(initial=0)), 1e-6)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)


@each_form
@each_model
def test_models_on_a_gpu_learn_what_they_learn_on_a_cpu(name, form, gpu):
    model = tiny(name, "float32")
    with settings(disable=FORMS[form]), using(gpu()):
        found = results(model, "cuda")
    assert_alike(found, results(model, "cpu"), 1e-3)


@each_form
@each_model
def test_bits_depend_neither_on_the_run_nor_on_the_blocks(name, form, gpu):
    model = tiny(name, "float32")
    found = []
    for blocks in (0, 0, 1, 7):
        with settings(disable=FORMS[form]), using(gpu(blocks=blocks)):
            found.append(results(model, "cuda"))
    for other in found[1:]:
        for got, want in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.slow
@each_form
@each_model
def test_models_in_their_full_size(name, form, gpu):
    model = MODELS[name]("float32").first(BATCHES)
    with settings(disable=FORMS[form]), using(gpu()):
        found = results(model, "cuda")
    losses, *_ = found
    wanted, *_ = results(model, "cpu")
    assert_alike([losses], [wanted], 2e-3)


@pytest.mark.parametrize("name", HOST)
def test_models_that_need_the_host_are_refused(name, gpu):
    with using(gpu()), pytest.raises(DeviceError, match="libraries of the host"):
        results(tiny(name, "float32"), "cuda")


# ---- odd shapes, too large for the interpreter

SIZES = (1, 31, 33, 127, 255, 257, 1000, 1025)


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).uniform(-1, 1, shape).astype("f")


@pytest.mark.slow
@each_form
@pytest.mark.parametrize("rows", SIZES)
def test_rows_of_every_length(rows, form, gpu):
    def everything(x):
        y = gl.nn.softmax(x) * gnp.tanh(x)
        return y, gnp.sum(y, axis=0), gnp.max(x, axis=1), gnp.mean(y), gnp.cumsum(x, axis=1)

    for columns in SIZES:
        x = drawn(rows, columns)
        with settings(disable=FORMS[form]), using(gpu()):
            found = _leaves(gl.jit(everything, device="cuda")(x))
        assert_alike(found, _leaves(gl.jit(everything)(x)), 1e-5)


@pytest.mark.slow
@each_form
@pytest.mark.parametrize("rows", SIZES)
def test_products_of_every_shape(rows, form, gpu):
    """And of both matrices transposed, which is what their gradients are."""

    def products(a, b, c):
        return gnp.tanh(a @ b + c), a.T @ (a @ b), (a @ b) @ b.T

    for columns, depth in ((1, 1000), (33, 1), (127, 65), (129, 128), (257, 63), (1000, 129)):
        a, b, c = drawn(rows, depth), drawn(depth, columns), drawn(columns)
        with settings(disable=FORMS[form]), using(gpu()):
            found = _leaves(gl.jit(products, device="cuda")(a, b, c))
        assert_alike(found, _leaves(gl.jit(products)(a, b, c)), 1e-4)
