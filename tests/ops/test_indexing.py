"""Square brackets are NumPy's: basic and advanced indices in any mixture, and what they scatter."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
import gradloom.numpy as gnp

X = np.random.default_rng(2).uniform(-2, 2, (3, 4, 5))


@st.composite
def keys(draw, shape):
    """A basic or advanced index of an array of this shape."""
    count = draw(st.integers(0, len(shape)))
    split = draw(st.none() | st.integers(0, count))  # where the ellipsis stands
    front = count if split is None else split
    sizes = [*shape[:front], *shape[len(shape) - (count - front) :]] if count else []
    kinds = ["slice", "int", "slice", *draw(st.sampled_from([[], ["array"], ["mask"]]))]
    items = [draw(one_key(n, kinds)) for n in sizes]
    masks = [i for i, k in enumerate(items) if isinstance(k, np.ndarray) and k.dtype.kind == "b"]
    for i in masks[1:]:  # two masks must choose equally many
        items[i] = slice(None)
    if split is not None:
        items.insert(split, Ellipsis)
    for _ in range(draw(st.integers(0, 1))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


def one_key(n, kinds):
    bound = st.none() | st.integers(-n - 2, n + 2)
    step = st.sampled_from([None, 1, 2, -1, -2, 3])
    arrays = np.array([[-1, 0], [n - 1, -n]])
    sorts = {
        "slice": st.builds(slice, bound, bound, step),
        "int": st.integers(-n, n - 1),
        "array": st.sampled_from([arrays, arrays[0], arrays[1]]),
        "mask": st.sampled_from([np.arange(n) % 2 == 0, np.arange(n) % 2 == 1]),
    }
    return st.one_of([sorts[kind] for kind in kinds])


@settings(max_examples=25)
@given(st.lists(keys((3, 4, 5)), min_size=4, max_size=4))
def test_square_brackets_are_numpys(chosen):
    """Four keys to a program; values, and the gradient, which scatters."""
    weights = [np.cos(np.arange(X[k].size)).reshape(X[k].shape) for k in chosen]
    values = gl.jit(lambda x: [x[k] for k in chosen])(X)
    for key, got in zip(chosen, values, strict=True):
        np.testing.assert_array_equal(got, X[key], f"x[{key}]")
    slope = gl.grad(lambda x: sum(gnp.sum(x[k] * w) for k, w in zip(chosen, weights, strict=True)))(
        X
    )
    wanted = np.zeros_like(X)
    for key, w in zip(chosen, weights, strict=True):
        np.add.at(wanted, key, w)
    np.testing.assert_allclose(slope, wanted, 1e-13, 1e-13)
