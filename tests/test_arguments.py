"""Calls after the first of a signature take a shorter way, which must refuse what the first did."""

import numpy as np
import pytest

import gradloom as gl
import gradloom.numpy as gnp
from gradloom.arguments import acceptor, stack_acceptor
from gradloom.frontend.pytree import flatten
from gradloom.tracing import leaf_of

X = np.arange(6.0).reshape(2, 3)


def accept(tree, other):
    leaves, structure = flatten(tree)
    return acceptor(structure, list(map(leaf_of, leaves)))(other)


def test_the_same_arrays_are_given_without_a_copy():
    (found,) = accept((X,), (X,))
    assert found is X
    frozen = X.copy()
    frozen.flags.writeable = False
    assert accept((X,), (frozen,))[0] is frozen


@pytest.mark.parametrize(
    "other",
    [
        (),
        (X, X),
        [X],
        X,
        (X.tolist(),),
        ({"x": X},),
        (X[:1],),
        (X.T,),
        (X.reshape(3, 2),),
        (X[:, ::-1],),
        (np.asfortranarray(X),),
        (X.astype("f4"),),
        (X.astype(">f8"),),
        (X.view(np.ma.MaskedArray),),
        (np.frombuffer(b"\0" * 49, np.uint8)[1:].view("f8").reshape(2, 3),),
        (1.0,),
        (None,),
    ],
    ids=lambda other: type(other).__name__,
)
def test_everything_else_takes_the_long_way(other):
    assert accept((X,), other) is None


@pytest.mark.parametrize("number", [True, 3, 2.5, 1j])
def test_numbers_become_arrays_of_their_own_dtype(number):
    (found,) = accept((number,), (number,))
    assert found.dtype == np.asarray(number).dtype
    assert found == number
    for other in (True, 3, 2.5, 1j, np.float64(2.5), np.asarray(2.5), "3"):
        if type(other) is not type(number):
            assert accept((number,), (other,)) is None


def test_an_integer_that_needs_another_program_is_not_taken():
    assert accept((3,), (2**31,)) is None
    assert accept((2**40,), (2**40,)) is None  # one of 64 bits, which is not weak


def test_calls_compile_again_where_they_must():
    f = gl.jit(lambda p, x, scale=1.0: (p["w"] * x).sum() * scale)
    w = np.ones(3)
    assert f({"w": w}, X) == 15.0
    assert f({"w": w}, X) == 15.0
    assert f({"w": w}, X[:1]) == 3.0
    assert f({"w": w}, X, scale=2.0) == 30.0
    assert f({"w": w}, X, scale=3.0) == 45.0
    assert f({"w": w}, X[:, ::-1]) == 15.0
    assert f({"w": w}, X) == 15.0
    assert f({"w": [1.0, 1.0, 1.0][0]}, X) == 15.0


def test_arguments_by_position_and_by_name_are_not_mixed_up():
    f = gl.jit(lambda *args, **kwargs: args[0][0] * 2.0 if not kwargs else kwargs["a"] * 3.0)
    assert f((1.0, 2.0), {"a": 5.0}) == 2.0
    assert f(1.0, 2.0, a=5.0) == 15.0
    assert f((1.0, 2.0), {"a": 5.0}) == 2.0


def test_what_a_function_closed_over_is_read_at_every_call():
    kept = np.ones(3)
    f = gl.jit(lambda x: x * kept)
    assert f(np.ones(3)).tolist() == [1.0, 1.0, 1.0]
    kept[:] = 4.0
    assert f(np.ones(3)).tolist() == [4.0, 4.0, 4.0]


def test_results_without_axes_do_not_change_later():
    f = gl.jit(lambda x: (gnp.sum(x), x + 1.0, {"m": gnp.max(x)}))
    first = f(np.ones(3))
    second = f(np.full(3, 2.0))
    assert (first[0], first[2]["m"]) == (3.0, 1.0)
    assert (second[0], second[2]["m"]) == (6.0, 2.0)
    assert first[1].tolist() == [2.0, 2.0, 2.0]


def test_steps_and_runs_in_turn():
    step = gl.train_step(lambda w, x: gnp.sum((w - x) ** 2), gl.optim.sgd(0.25))
    state, other = step.init(np.zeros(2)), step.init(np.ones(2))
    x = np.full(2, 2.0)
    state, first = step(state, x)
    other, its = step(other, x)
    state, losses = step.run(state, np.stack([x, x]))
    state, last = step(state, x)
    other, same = step(other, x)
    assert [first, *losses, last] == [8.0, 2.0, 0.5, 0.125]
    assert [its, same] == [2.0, 0.5]
    with pytest.raises(gl.ShapeError):
        step(state, np.ones((3, 5)))
    state, again = step(state, x)
    assert again == 0.03125
    with pytest.raises(gl.StateError):
        step(other.replace(), np.ones(2)) and step(other, x) and step(other, x)


def accept_stacks(tree, other):
    leaves, structure = flatten(tree)
    return stack_acceptor(structure, list(map(leaf_of, leaves)))(other)


def test_stacks_of_any_length_are_given_without_a_copy():
    stacks = (np.zeros((5, 2, 3)), np.zeros(5))
    for one, other in zip(accept_stacks((X, X[0, 0]), stacks), stacks, strict=True):
        assert one is other
    assert len(accept_stacks((X,), (np.zeros((0, 2, 3)),))[0]) == 0


@pytest.mark.parametrize(
    "other",
    [
        (),
        (X, X),
        (np.zeros((5, 2, 3)),),
        (np.zeros((5, 2, 3)), np.zeros((4, 2, 3))),
        (np.zeros((5, 2, 3)), np.zeros((5, 3, 2))),
        (np.zeros((5, 2, 3)), np.zeros((5, 2, 3), "f4")),
        (np.zeros((5, 2, 3)), np.zeros((5, 2, 6))[..., ::2]),
        (np.zeros((5, 2, 3)), np.zeros((5, 2, 3)).tolist()),
        (np.zeros(()), np.zeros(())),
    ],
    ids=lambda other: " ".join(str(np.shape(x)) for x in other),
)
def test_all_other_stacks_take_the_long_way(other):
    assert accept_stacks((X, X), other) is None


def test_stacks_where_numbers_were_take_the_long_way():
    assert accept_stacks((2.5,), (np.zeros(4),)) is None


def test_stacks_of_other_lengths_are_refused_on_either_way():
    step = gl.train_step(lambda p, x, y: ((p * x - y) ** 2).mean(), gl.optim.sgd(0.1))
    state, _ = step.run(step.init(np.ones(3)), np.ones((4, 3)), np.ones((4, 3)))
    with pytest.raises(gl.GradloomError, match="the leading axes do not agree"):
        step.run(state, np.ones((4, 3)), np.ones((5, 3)))
