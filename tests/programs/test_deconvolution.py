"""A blurred and noisy picture made sharp, through Fourier transforms.

Minimising |k * x - y|^2 + weight |x|^2, with a circular convolution, has Wiener's closed form
X = conj(K) Y / (|K|^2 + weight) (Wiener 1949; Gonzalez and Woods, Digital Image Processing, section
5.8).  The gradient of a loss through `fft2` has to lead there too.
"""

import numpy as np
from scipy.linalg import circulant
from scipy.ndimage import convolve

import gradloom as gl
import gradloom.numpy as gnp
from tests.programs.roads import assert_close, on_jax, same_on_every_road


def blurred(kernel, x):
    """The circular convolution of two real pictures of one size."""
    return gnp.fft.irfft2(gnp.fft.rfft2(kernel) * gnp.fft.rfft2(x), s=x.shape)


def loss(x, kernel, y, weight):
    return gnp.sum((blurred(kernel, x) - y) ** 2) + weight * gnp.sum(x**2)


def gradients(x, kernel, y, weight):
    return gl.value_and_grad(loss, argnums=(0, 1, 2, 3))(x, kernel, y, weight)


def wiener(kernel, y, weight):
    k = gnp.fft.fft2(kernel)
    return gnp.real(gnp.fft.ifft2(gnp.conj(k) * gnp.fft.fft2(y) / (gnp.abs(k) ** 2 + weight)))


def descend(x, kernel, y, weight, rate, rounds):
    """Gradient descent with Nesterov's momentum (1983), as one loop."""

    def step(state, _):
        x, speed = state
        slope = gl.grad(loss)(x + 0.9 * speed, kernel, y, weight)
        speed = 0.9 * speed - rate * slope
        return (x + speed, speed), None

    return gl.scan(step, (x, gnp.zeros_like(x)), None, length=rounds)[0][0]


def error_of(weight, kernel, y, truth):
    """How far Wiener's picture is from the true one."""
    return gnp.mean((wiener(kernel, y, gnp.exp(weight)) - truth) ** 2)


def spot(shape, width):
    """A bell around the origin, whose sum is 1."""
    rows, columns = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    bell = np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * width**2))
    return bell / bell.sum()


def scene(shape=(12, 10), noise=0.01, seed=0):
    truth = np.zeros(shape)
    truth[3:7, 2:5], truth[8:10, 6:9] = 1.0, 0.5
    kernel = spot(shape, 1.0)
    sharp = np.asarray(blurred(kernel, truth))
    return kernel, sharp + noise * np.random.default_rng(seed).normal(size=shape), truth


def test_a_product_of_transforms_is_a_convolution():
    kernel, _, truth = scene()
    moved = np.roll(kernel, (6, 5), (0, 1))  # SciPy's kernels have their origin in the middle
    assert_close(gl.jit(blurred)(kernel, truth), convolve(truth, moved, mode="wrap"), 1e-12)


def test_the_gradients_are_the_same_on_every_road():
    kernel, y, truth = scene()
    same_on_every_road(gradients, truth + 0.1, kernel, y, 0.02)


def test_the_gradient_is_that_of_a_circulant_matrix():
    """In one dimension k * x is C x, and the gradient is 2 C^T (C x - y) + 2 weight x."""
    rng = np.random.default_rng(1)
    for count in (8, 9):
        kernel, x, y = rng.normal(size=(3, 1, count))
        c = circulant(kernel[0])
        wanted = 2 * c.T @ (c @ x[0] - y[0]) + 0.6 * x[0]
        assert_close(gl.grad(loss)(x, kernel, y, 0.3)[0], wanted, 1e-12)


def test_the_gradient_of_wieners_picture_is_zero():
    kernel, y, _ = scene()
    best = gl.jit(wiener)(kernel, y, 0.02)
    np.testing.assert_allclose(gl.grad(loss)(best, kernel, y, 0.02), 0, atol=1e-13)


def test_descent_arrives_at_wieners_picture():
    kernel, y, _ = scene()
    found = gl.jit(lambda y: descend(y, kernel, y, 0.02, 0.2, 400))(y)
    assert_close(found, wiener(kernel, y, 0.02), 1e-8)


def test_the_weight_is_learned_through_wieners_formula():
    """The best weight for one noise, by the derivative of a complex formula."""
    kernel, y, truth = scene()
    slope = gl.jit(gl.value_and_grad(error_of))
    weight = -6.0
    for _ in range(60):
        _, by_weight = slope(weight, kernel, y, truth)
        weight -= 100 * by_weight  # small slopes: the error is a mean of squares
    errors = [slope(w, kernel, y, truth)[0] for w in (weight - 0.3, weight, weight + 0.3)]
    assert errors[1] == min(errors)
    assert_close(
        slope(weight, kernel, y, truth), on_jax(weight_slope)(weight, kernel, y, truth), 1e-9
    )


def weight_slope(weight, kernel, y, truth):
    return gl.value_and_grad(error_of)(weight, kernel, y, truth)
