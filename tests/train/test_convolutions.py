"""Convolutions and pooling against sums written out, JAX, torch and differences."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import ShapeError
from gradloom.frontend.pytree import flatten
from gradloom.train import nn

RNG = np.random.default_rng(0)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


# ---- what they mean, an element at a time


def border(sizes, window, step, dilation, padding):
    """(before, after) an axis."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    if padding != "same":
        return [(p, p) if isinstance(p, int) else p for p in padding]
    pairs = []
    for n, k, s, d in zip(sizes, window, step, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        pairs.append((total // 2, total - total // 2))
    return pairs


def windows_of(x, window, step, dilation, padding, fill):
    """(n, places..., window..., c)"""
    pairs = border(x.shape[1:-1], window, step, dilation, padding)
    x = np.pad(x, [(0, 0), *pairs, (0, 0)], constant_values=fill)
    sizes = zip(x.shape[1:-1], window, step, dilation, strict=True)
    count = [max((n - (k - 1) * d - 1) // s + 1, 0) for n, k, s, d in sizes]
    out = np.zeros((x.shape[0], *count, *window, x.shape[-1]), x.dtype)
    for place in itertools.product(*map(range, count)):
        at = zip(place, window, step, dilation, strict=True)
        out[:, *place] = x[:, *(slice(p * s, p * s + (k - 1) * d + 1, d) for p, k, s, d in at)]
    return out


def convolved(x, w, step, padding, dilation, groups):
    many = x.ndim - 2
    seen = windows_of(x, w.shape[:many], step, dilation, padding, 0)
    seen = seen.reshape(*seen.shape[: 1 + 2 * many], groups, w.shape[-2])
    made = w.shape[-1]
    w = w.reshape(*w.shape[:-1], groups, made // groups)
    inside = "ij"[:many]
    out = np.einsum(f"n...{inside}gc,{inside}cgo->n...go", seen, w)
    return out.reshape(*out.shape[: 1 + many], made)


def pooled(x, window, step, padding, fill, fold):
    seen = windows_of(x, window, step, (1,) * len(window), padding, fill)
    return fold(seen, axis=tuple(range(1 + len(window), 1 + 2 * len(window))))


# ---- every mode and every order


def slopes(function, arrays, weights, directions):
    """Value, gradient, and the derivative of both along directions."""

    def total(*args):
        return (function(*args) * weights).sum() + (function(*args) ** 3).sum() / 3

    numbers = tuple(range(len(arrays)))
    gradient = gl.grad(total, numbers)
    return function(*arrays), gradient(*arrays), gl.jvp(gradient, arrays, directions)[1]


def assert_all_orders(function, *arrays, step=1e-5):
    """The tape, the graph and machine code agree; derivatives are those of differences."""
    value = np.asarray(function(*arrays))
    weights = RNG.normal(size=value.shape)
    directions = tuple(RNG.normal(size=a.shape) for a in arrays)

    def everything(*args):
        return slopes(function, args, weights, directions)

    with gl.eager():
        taped = everything(*arrays)
    found = gl.jit(everything, verify=True)(*arrays)
    leaves, eager = (list(map(np.asarray, flatten(part)[0])) for part in (found, taped))
    for got, want in zip(leaves, eager, strict=True):
        np.testing.assert_allclose(got, want, **CLOSE)
    count = len(arrays)
    gradient, along = leaves[1 : 1 + count], leaves[1 + count :]
    ahead, back = (
        everything(*(a + h * d for a, d in zip(arrays, directions, strict=True)))
        for h in (step, -step)
    )

    def total(result):
        return (result[0] * weights).sum() + (np.asarray(result[0]) ** 3).sum() / 3

    slope = (total(ahead) - total(back)) / (2 * step)
    assert_near(sum((g * d).sum() for g, d in zip(gradient, directions, strict=True)), slope)
    for got, up, down in zip(along, ahead[1], back[1], strict=True):
        assert_near(got, (np.asarray(up) - np.asarray(down)) / (2 * step))


def assert_near(got, want):
    scale = 1 + np.max(np.abs(want), initial=0)
    np.testing.assert_allclose(got / scale, want / scale, atol=1e-6)


# ---- convolutions

SAME_AND_PAIRS = ((1, 2), (0, 3))
# x, w, stride, padding, dilation, groups
CONVOLUTIONS = {
    "valid": ((2, 7, 8, 3), (3, 2, 3, 4), 1, "valid", 1, 1),
    "same": ((2, 7, 8, 3), (3, 4, 3, 17), 1, "same", 1, 1),
    "strided in groups": ((2, 9, 8, 4), (3, 3, 2, 6), 2, "same", 1, 2),
    "depthwise": ((2, 9, 8, 4), (3, 3, 1, 4), (2, 1), SAME_AND_PAIRS, 1, 4),
    "depthwise of two each": ((2, 6, 6, 4), (3, 3, 1, 8), 1, "same", 1, 4),
    "dilated and strided": ((2, 9, 11, 4), (3, 3, 4, 5), (2, 3), SAME_AND_PAIRS, (2, 1), 1),
    "dilated where strided": ((2, 9, 11, 4), (2, 3, 4, 5), 2, SAME_AND_PAIRS, (2, 3), 1),
    "dilated": ((1, 9, 11, 2), (2, 3, 2, 3), 1, "valid", (2, 3), 1),
    "of one element": ((2, 5, 7, 4), (1, 1, 4, 5), 2, "valid", 1, 1),
    "of one element in a border": ((2, 5, 7, 4), (1, 1, 4, 5), 2, (1, 1), 1, 1),
    "far apart": ((2, 8, 9, 2), (2, 2, 2, 3), (3, 4), "valid", 1, 1),
    "one channel": ((3, 8, 8, 1), (5, 5, 1, 6), 1, "valid", 1, 1),
    "few channels": ((2, 8, 9, 3), (5, 5, 3, 16), 1, "same", 1, 1),
    "few channels, dilated": ((2, 8, 11, 2), (3, 4, 2, 16), (2, 1), "same", (1, 2), 1),
    "few channels along one axis": ((2, 12, 2), (5, 2, 17), 1, ((0, 3),), 1, 1),
    "few results": ((2, 7, 9, 4), (3, 3, 4, 3), 2, "same", 1, 1),
    "one result": ((3, 6, 6, 5), (3, 3, 5, 1), 1, "same", 1, 1),
    "one place": ((2, 3, 3, 4), (3, 3, 4, 3), 1, "valid", 1, 1),
    "one pixel": ((2, 1, 1, 4), (3, 3, 4, 2), 1, "same", 1, 1),
    "one row": ((2, 1, 9, 4), (1, 3, 4, 2), (1, 2), "same", 1, 1),
    "no examples": ((0, 5, 5, 2), (3, 3, 2, 3), 2, "same", 1, 1),
    "no channels": ((2, 5, 5, 0), (3, 3, 0, 3), 1, "same", 1, 1),
    "no results": ((2, 5, 5, 2), (3, 3, 2, 0), 1, "same", 1, 1),
    "no height": ((2, 0, 5, 2), (3, 3, 2, 3), 1, "same", 1, 1),
    "along one axis": ((2, 12, 3), (4, 3, 5), 3, "same", 1, 1),
    "along one axis, dilated": ((2, 12, 4), (3, 2, 6), 1, ((4, 0),), 2, 2),
}


def axes_of(value, many):
    return (value,) * many if isinstance(value, int) else value


def convolution(many):
    return {1: nn.conv1d, 2: nn.conv2d}[many]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_every_mode_and_order(name):
    shape, weights, stride, padding, dilation, groups = CONVOLUTIONS[name]
    x, w = RNG.normal(size=shape), RNG.normal(size=weights)
    many = x.ndim - 2

    def function(x, w):
        return convolution(many)(x, w, stride, padding, dilation, groups)

    step, apart = axes_of(stride, many), axes_of(dilation, many)
    want = convolved(x, w, step, padding, apart, groups)
    np.testing.assert_allclose(function(x, w), want, **CLOSE)
    assert_all_orders(function, x, w)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_those_of_jax(name, jax_in_double_precision):
    lax = pytest.importorskip("jax").lax
    shape, weights, stride, padding, dilation, groups = CONVOLUTIONS[name]
    x, w = RNG.normal(size=shape), RNG.normal(size=weights)
    many = x.ndim - 2
    spatial = "HW"[:many]
    pairs = padding.upper() if isinstance(padding, str) else border(x, x, x, x, padding)
    want = lax.conv_general_dilated(
        x,
        w,
        axes_of(stride, many),
        pairs,
        rhs_dilation=axes_of(dilation, many),
        feature_group_count=groups,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )
    found = convolution(many)(x, w, stride, padding, dilation, groups)
    np.testing.assert_allclose(found, want, **CLOSE)


def test_third_derivatives():
    x, w = RNG.normal(size=(1, 5, 4, 2)), RNG.normal(size=(3, 2, 2, 2))

    def along(x, w, dx, dw):
        def total(x, w):
            return (np.tanh(nn.conv2d(x, w, 2, "same"))).sum()

        return gl.jvp(lambda x, w: gl.jvp(gl.grad(total), (x, w), (dx, dw))[1], (x, w), (dx, dw))

    dx, dw = RNG.normal(size=x.shape), RNG.normal(size=w.shape)
    _, third = gl.jit(along, verify=True)(x, w, dx, dw)
    h = 2e-5
    up, _ = along(x + h * dx, w + h * dw, dx, dw)
    down, _ = along(x - h * dx, w - h * dw, dx, dw)
    assert_near(third, (up - down) / (2 * h))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_a_batch_of_convolutions(axes):
    x = RNG.normal(size=(3, 2, 6, 5, 4)[axes[0] is None :])
    w = RNG.normal(size=(3, 3, 2, 2, 6)[axes[1] is None :])

    def gradients(x, w):
        def total(x, w):
            return (nn.conv2d(x, w, (2, 1), "same", groups=2) ** 2).sum()

        return gl.value_and_grad(total, (0, 1))(x, w)

    found = gl.jit(gl.vmap(gradients, in_axes=axes), verify=True)(x, w)
    wanted = [
        gradients(x if axes[0] is None else x[i], w if axes[1] is None else w[i]) for i in range(3)
    ]
    for got, want in zip(
        (found[0], *found[1]), zip(*((a, *b) for a, b in wanted), strict=True), strict=True
    ):
        np.testing.assert_allclose(got, np.stack(want), **CLOSE)


@given(
    sizes=st.tuples(*[st.integers(1, 7)] * 2),
    window=st.tuples(*[st.integers(1, 4)] * 2),
    step=st.tuples(*[st.integers(1, 4)] * 2),
    dilation=st.tuples(*[st.integers(1, 3)] * 2),
    pads=st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2),
    groups=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    same=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_convolution(sizes, window, step, dilation, pads, groups, channels, same):
    x = RNG.normal(size=(2, *sizes, channels[0] * groups))
    w = RNG.normal(size=(*window, channels[0], channels[1] * groups))
    padding = "same" if same else pads
    full = [n + sum(p) for n, p in zip(sizes, pads, strict=True)]
    extent = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    if not same and any(e > n for e, n in zip(extent, full, strict=True)):
        with pytest.raises(ShapeError, match="does not fit in"):
            nn.conv2d(x, w, step, padding, dilation, groups)
        return
    want = convolved(x, w, step, padding, dilation, groups)
    np.testing.assert_allclose(nn.conv2d(x, w, step, padding, dilation, groups), want, **CLOSE)
    g = RNG.normal(size=want.shape)

    def total(x, w):
        return (nn.conv2d(x, w, step, padding, dilation, groups) * g).sum()

    # Linear in each, so that one difference is exact, up to rounding.
    by_x, by_w = gl.grad(total, (0, 1))(x, w)
    dx, dw = RNG.normal(size=x.shape), RNG.normal(size=w.shape)
    np.testing.assert_allclose((by_x * dx).sum(), total(dx, w), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose((by_w * dw).sum(), total(x, dw), rtol=1e-8, atol=1e-8)


def test_other_dtypes():
    x, w = RNG.integers(-4, 4, (2, 5, 5, 2)), RNG.integers(-4, 4, (3, 3, 2, 3))
    want = convolved(x, w, (1, 1), "same", (1, 1), 1)
    found = gl.jit(lambda x, w: nn.conv2d(x, w, padding="same"), verify=True)(x, w)
    np.testing.assert_array_equal(found, want)
    single = gl.jit(lambda x, w: nn.conv2d(x, w, padding="same"))(
        x.astype("float32"), w.astype("float32")
    )
    assert single.dtype == "float32"
    np.testing.assert_array_equal(single, want)
    z = x + 1j * x[::-1]
    turned = gl.jit(lambda x, w: nn.conv2d(x, w, padding="same"), verify=True)(z, w * 1.0)
    np.testing.assert_allclose(turned, convolved(z, w, (1, 1), "same", (1, 1), 1))


def test_only_the_border_is_copied():
    x = np.ones((2, 16, 16, 8), "float32")
    w = np.ones((3, 3, 8, 16), "float32")
    for padding, most in (("valid", 0), ("same", 2 * 18 * 18 * 8 * 4 + 64)):
        program = gl.jit(lambda x, w, padding=padding: nn.conv2d(x, w, 1, padding))
        assert program.memory(x, w).arena_bytes <= most


@pytest.mark.parametrize(
    ("shapes", "arguments", "message"),
    [
        (((5, 5, 2), (3, 3, 2, 4)), {}, "both take 4 axes"),
        (((1, 5, 5, 2), (3, 2, 4)), {}, "both take 4 axes"),
        (((1, 5, 5, 2), (3, 3, 3, 4)), {}, "x has 2 channels, and w takes 3"),
        (((1, 5, 5, 4), (3, 3, 4, 4)), {"groups": 2}, "w takes 4 for each of 2 groups"),
        (((1, 5, 5, 4), (3, 3, 2, 3)), {"groups": 2}, "2 groups do not divide"),
        (((1, 5, 5, 3), (3, 3, 1, 4)), {"groups": 2}, "2 groups do not divide"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"groups": 0}, "0 groups do not divide"),
        (((1, 5, 5, 2), (6, 3, 2, 4)), {}, r"\(6, 3\) does not fit in \(5, 5\)"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"dilation": 3}, r"\(7, 7\) does not fit in \(5, 5\)"),
        (((1, 5, 5, 2), (0, 3, 2, 4)), {}, "must have an element"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"stride": 0}, "the stride is 0"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"stride": (1, 2, 3)}, r"the stride is \(1, 2, 3\)"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"dilation": 1.5}, "the dilation is 1.5"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"padding": "full"}, "padding 'full'"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"padding": ((1, 1),)}, "padding"),
        (((1, 5, 5, 2), (3, 3, 2, 4)), {"padding": -1}, "padding -1"),
    ],
)
def test_convolutions_that_are_refused(shapes, arguments, message):
    x, w = map(np.ones, shapes)
    with pytest.raises(ShapeError, match=message) as error:
        nn.conv2d(x, w, **arguments)
    assert "test_convolutions.py" in str(error.value)
    with pytest.raises(ShapeError, match=message):
        gl.jit(lambda x, w: nn.conv2d(x, w, **arguments))(x, w)


# ---- pooling

# x, window, stride, padding
POOLINGS = {
    "side by side": ((2, 6, 8, 3), 2, None, "valid"),
    "not to the end": ((2, 7, 9, 3), (2, 3), None, "valid"),
    "overlapping": ((2, 7, 9, 3), 3, 2, "valid"),
    "in a border": ((2, 7, 9, 3), 3, 2, "same"),
    "everywhere": ((2, 5, 6, 17), (3, 2), 1, ((1, 1), (0, 1))),
    "with gaps": ((2, 7, 9, 3), 2, 3, "valid"),
    "of one element": ((2, 7, 9, 3), 1, 2, "valid"),
    "global": ((2, 4, 5, 3), (4, 5), None, "valid"),
    "of one pixel": ((2, 1, 1, 3), 1, None, "valid"),
    "along one axis": ((2, 9, 3), 3, 2, "same"),
    "along three axes": ((2, 4, 5, 3, 2), 2, None, "valid"),
    "no examples": ((0, 4, 4, 3), 2, None, "valid"),
    "no channels": ((2, 4, 4, 0), 2, None, "valid"),
}


@pytest.mark.parametrize("name", POOLINGS)
def test_largest_elements_in_every_mode_and_order(name):
    shape, window, stride, padding = POOLINGS[name]
    many = len(shape) - 2
    size = axes_of(window, many)
    step = size if stride is None else axes_of(stride, many)
    # No two elements are close, so that differences do not change which is the largest.
    x = RNG.permutation(int(np.prod(shape))).reshape(shape) * 0.1
    want = pooled(x, size, step, padding, -np.inf, np.max)
    np.testing.assert_array_equal(nn.max_pool(x, window, stride, padding), want)
    assert_all_orders(lambda x: nn.max_pool(x, window, stride, padding), x)


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("counted", [True, False])
def test_means_in_every_mode_and_order(name, counted):
    shape, window, stride, padding = POOLINGS[name]
    many = len(shape) - 2
    size = axes_of(window, many)
    step = size if stride is None else axes_of(stride, many)
    x = RNG.normal(size=shape)
    total = pooled(x, size, step, padding, 0, np.sum)
    number = np.prod(size) if counted else pooled(np.ones_like(x), size, step, padding, 0, np.sum)
    np.testing.assert_allclose(
        nn.avg_pool(x, window, stride, padding, counted), total / number, **CLOSE
    )
    assert_all_orders(lambda x: nn.avg_pool(x, window, stride, padding, counted), x)


def test_the_first_of_equal_elements_has_the_derivative():
    x = np.zeros((1, 4, 4, 1), "float32")

    def total(x):
        return (nn.max_pool(x, 2, 1, "same") * weights).sum()

    weights = np.arange(1.0, 17, dtype="float32").reshape(1, 4, 4, 1)
    found = gl.jit(gl.grad(total), verify=True)(x)
    assert found.dtype == "float32"
    # Each window begins at its own element, and that is its first.
    np.testing.assert_array_equal(found, weights)


def test_derivatives_of_pooling_are_those_of_jax_and_torch():
    jax = pytest.importorskip("jax")
    torch = pytest.importorskip("torch")
    x = RNG.integers(0, 3, (2, 8, 8, 3)).astype("float32")  # many are equal
    weights = RNG.normal(size=(2, 4, 4, 3)).astype("float32")

    def theirs(x):
        window, step = (1, 3, 3, 1), (1, 2, 2, 1)
        pads = ((0, 0), (1, 1), (1, 1), (0, 0))
        found = jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, step, pads)
        return (found * weights).sum()

    leaf = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    out = torch.nn.functional.max_pool2d(leaf, 3, 2, 1)
    (out * torch.tensor(weights.transpose(0, 3, 1, 2))).sum().backward()
    found = gl.jit(gl.grad(lambda x: (nn.max_pool(x, 3, 2, 1) * weights).sum()))(x)
    np.testing.assert_allclose(found, jax.grad(theirs)(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, leaf.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)


def test_pooling_of_integers_and_of_what_is_not_finite():
    x = RNG.integers(-9, 9, (1, 4, 4, 2))
    want = pooled(x, (3, 3), (1, 1), "same", -99, np.max)
    np.testing.assert_array_equal(gl.jit(lambda x: nn.max_pool(x, 3, 1, "same"))(x), want)
    x = np.full((1, 2, 2, 1), -np.inf)
    assert nn.max_pool(x, 2).item() == -np.inf
    np.testing.assert_array_equal(nn.max_pool(x * np.nan, 2), [[[[np.nan]]]])


def test_a_batch_of_poolings():
    x = RNG.normal(size=(3, 2, 4, 6, 2))
    for pool in (nn.max_pool, nn.avg_pool):
        one = gl.value_and_grad(lambda x, pool=pool: (pool(x, 3, 2, "same") ** 2).sum())
        values, slopes = gl.jit(gl.vmap(one), verify=True)(x)
        np.testing.assert_allclose(values, [one(v)[0] for v in x])
        np.testing.assert_allclose(slopes, [one(v)[1] for v in x])


def test_pooling_side_by_side_takes_a_pass_each_way():
    x = np.ones((4, 8, 8, 16), "float32")
    compiled = gl.jit(gl.grad(lambda x: (nn.max_pool(nn.relu(x), 2) ** 2).sum()))
    kernels = compiled.program(x).plan.kernels
    assert len(kernels) <= 4  # relu, what is largest, the cotangent; and the copy that is returned
    # No index is kept, and the largest element is marked in a byte.
    assert {b.type.dtype for b in compiled.program(x).plan.buffers} == {"float32", "bool"}


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_pooling_that_is_refused(pool):
    x = np.ones((1, 4, 4, 2))
    for shape, window, stride, message in (
        ((4, 4), 2, None, "give it the axes"),
        (x.shape, 5, None, r"\(5, 5\) does not fit in \(4, 4\)"),
        (x.shape, (2, 2, 2), None, "a window is"),
        (x.shape, 0, None, "a window is"),
        (x.shape, 2, 0, "the stride is"),
    ):
        with pytest.raises(ShapeError, match=message) as error:
            pool(np.ones(shape), window, stride)
        assert "test_convolutions.py" in str(error.value)
