"""Known structures taken apart and put together, as `flatten` and `unflatten` do it."""

import collections
import dataclasses
from typing import Any, NamedTuple

import pytest

from gradloom.frontend.matching import builder, taker
from gradloom.frontend.pytree import flatten


class Layer(NamedTuple):
    w: Any
    b: Any


@dataclasses.dataclass
class Model:
    layers: Any
    scale: Any


@dataclasses.dataclass
class Single:
    only: Any


TREES = {
    "a leaf": 1,
    "none": None,
    "a tuple": (1, 2),
    "a list": [1, 2],
    "empty": (),
    "an empty dict": {},
    "one key": {"w": 1},
    "a dict": {"w": 1, "b": 2},
    "numbers as keys": {1: 5, 0: 6},
    "a namedtuple": Layer(1, 2),
    "a dataclass": Model(1, 2),
    "one field": Single(1),
    "an ordered dict": collections.OrderedDict(w=1, b=2),
    "a defaultdict": collections.defaultdict(list, w=1),
    "nested": {"a": [Layer(1, None), (2, {"x": 3})], "b": Model([4, 5], {})},
    "a call": (({"w": 1}, [2]), {"lr": 3}),
}


@pytest.mark.parametrize("name", TREES)
def test_leaves_are_those_of_a_walk_and_make_the_tree_again(name):
    tree = TREES[name]
    leaves, structure = flatten(tree)
    assert list(taker(structure)(tree)) == leaves
    assert builder(structure)(leaves) == tree
    assert type(builder(structure)(leaves)) is type(tree)


@pytest.mark.parametrize("name", TREES)
def test_any_other_tree_gives_nothing(name):
    take = taker(flatten(TREES[name])[1])
    for other, tree in TREES.items():
        # Where one leaf is asked for, what stands there is not looked at.
        if other == name or name == "a leaf":
            continue
        found = take(tree)
        assert found is None or flatten(list(found))[1] != flatten(flatten(TREES[name])[0])[1]


def test_a_missing_key_makes_nothing():
    take = taker(flatten(collections.defaultdict(list, w=1))[1])
    tree = collections.defaultdict(list, b=1)
    assert take(tree) is None
    assert dict(tree) == {"b": 1}


def test_a_container_where_a_leaf_was_is_given_as_it_is():
    assert taker(flatten((1, {"w": 2}))[1])(([1, 2], {"w": (3,)})) == [[1, 2], (3,)]
