"""What follows a product, in the registers of its tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tests.gpus import Simulated

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.plan.dealt import Tiled
from gradloom.runtime.cuda.machine import using

RNG = np.random.default_rng(11)


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.normal(size=shape).astype(dtype)


def stages_of(program) -> list[str]:
    """What runs one after another: "product", "product+" with an epilogue, or "nest"."""
    plan = program.gpu.plan
    found = []
    for kernel in plan.plan.kernels:
        for stage in kernel.stages:
            code = plan.functions.get(stage.code.name)
            product = isinstance(code, Tiled)
            found.append(("product+" if code.epilogue else "product") if product else "nest")
    return found


def on_gpu(function: Callable, arrays: Sequence[np.ndarray], blocks: int = 3) -> list[np.ndarray]:
    with using(Simulated(blocks=blocks)):
        found = gl.jit(function, device="cuda")(*arrays)
    return [np.asarray(x) for x in (found if isinstance(found, tuple | list) else [found])]


def assert_as_on_cpu(function: Callable, *arrays: np.ndarray, stages: Sequence[str]) -> None:
    """The same numbers as on the CPU, the same bits on any number of blocks, in these stages."""
    program = gl.jit(function, target="cuda-ptx").program(*arrays)
    assert stages_of(program) == list(stages)
    wanted = gl.jit(function)(*arrays)
    wanted = wanted if isinstance(wanted, tuple | list) else [wanted]
    first = on_gpu(function, arrays, 1)
    for got, want in zip(first, wanted, strict=True):
        eps = np.finfo(want.dtype).eps
        np.testing.assert_allclose(got, want, rtol=200 * eps, atol=200 * eps)
    for blocks in (2, 5):
        for got, want in zip(on_gpu(function, arrays, blocks), first, strict=True):
            assert got.tobytes() == want.tobytes()


def test_bias_and_activation():
    assert_as_on_cpu(
        lambda x, w, b: gnp.tanh(x @ w + b),
        *(normal(19, 7), normal(7, 35), normal(35)),
        stages=["product+"],
    )


def test_in_float64():
    arrays = (normal(s, t, dtype="float64") for s, t in ((17, 5), (5, 18), (17, 18)))
    assert_as_on_cpu(lambda x, w, r: gl.nn.gelu(x @ w) + r, *arrays, stages=["product+"])


def test_a_residual_block():
    assert_as_on_cpu(
        lambda x, a, b: x + gl.nn.relu(x @ a) @ b,
        *(normal(18, 20), normal(20, 12), normal(12, 20)),
        stages=["product+", "product+"],
    )


def test_a_batch_of_matrices():
    assert_as_on_cpu(
        lambda x, w, b: gnp.sin(x @ w) * b,
        *(normal(3, 5, 7), normal(3, 7, 18), normal(5, 1)),
        stages=["product+"],
    )


def test_batch_and_rows_that_the_nest_has_as_one():
    """A dense layer over a sequence, and what follows over all of its rows at once."""
    assert_as_on_cpu(
        lambda x, w, b: gl.nn.relu(gnp.reshape(x @ w, (15, 8)) + b),
        *(normal(3, 5, 7), normal(7, 8), normal(15, 8)),
        stages=["product+"],
    )


def test_rows_that_the_nest_has_apart():
    assert_as_on_cpu(
        lambda x, w, b: gnp.reshape(x @ w, (3, 5, 4, 2)) * b,
        *(normal(15, 7), normal(7, 8), normal(3, 1, 4, 1)),
        stages=["product+"],
    )


def test_the_product_itself_is_stored_where_it_is_read():
    def both(x, w):
        y = x @ w
        return y, gnp.exp(y), y.sum(0)

    arrays = normal(9, 6), normal(6, 17)
    assert_as_on_cpu(both, *arrays, stages=["product+", "nest"])


def test_forward_and_reverse_of_two_layers():
    def loss(w1, b1, w2, b2, x):
        return gnp.sum((gnp.tanh(x @ w1 + b1) @ w2 + b2) ** 2)

    arrays = (normal(6, 17), normal(17), normal(17, 4), normal(4), normal(9, 6))
    slopes = gl.grad(loss, argnums=(0, 1, 2, 3))
    program = gl.jit(slopes, target="cuda-ptx").program(*arrays)
    assert stages_of(program).count("product+") == 3
    got, want = on_gpu(slopes, arrays), gl.jit(slopes)(*arrays)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_an_update_follows_its_gradient_and_what_it_reads_is_not_overwritten():
    """512 KB: the plan lets the update follow the product.  Weights of that size take long on the
    interpreter, so only the plan is looked at."""
    step = gl.train_step(
        lambda w, x: gnp.sum((x @ w) ** 2), gl.optim.sgd(1e-3, momentum=0.9), target="cuda-ptx"
    )
    w, x = np.ones((512, 512), np.float32), np.ones((256, 512), np.float32)
    program = step.program(step.init(w), x)
    last = next(f for f in program.gpu.plan.functions.values() if getattr(f, "epilogue", None))
    assert len(last.epilogue.nest.stores) == 2  # weights and velocity, but not the gradient


def test_a_convolution_with_bias_and_relu():
    """Rows of images are batches of small products, whose columns hold pixels and channels."""
    assert_as_on_cpu(
        lambda x, k, b: gl.nn.relu(gl.nn.conv2d(x, k, padding="same") + b),
        *(normal(2, 6, 6, 4), normal(3, 3, 4, 8), normal(8)),
        stages=["nest", "nest", "product+"],
    )


def test_the_states_of_loops_are_stored():
    assert_as_on_cpu(
        lambda w, v, x: gl.fori_loop(0, 3, lambda _, h: gnp.tanh(gnp.sin(h @ w) @ v + x), x),
        *(normal(6, 7), normal(7, 6), normal(17, 6)),
        stages=["nest", "product+", "product+"],
    )


def test_what_the_product_reads_is_not_overwritten():
    """The state is written in its place, after all tiles have read it."""
    assert_as_on_cpu(
        lambda w, xs: gl.scan(lambda h, x: (gnp.tanh(h @ w + x), h.sum()), xs[0], xs),
        *(normal(6, 6), normal(4, 3, 6)),
        stages=["nest", "nest", "product", "nest"],
    )
