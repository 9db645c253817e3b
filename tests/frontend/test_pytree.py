import collections
import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import StructureError
from gradloom.frontend.pytree import LEAF, flatten, paths, tree_map, unflatten


class Layer(NamedTuple):
    w: Any
    b: Any = None


@dataclasses.dataclass(frozen=True)
class Model:
    layers: Any
    scale: Any = 1.0

    def __post_init__(self):
        if isinstance(self.scale, str):
            raise AssertionError("rebuilding must not run the checks")


@dataclasses.dataclass(slots=True)
class Slotted:
    w: Any


TREES = [
    3.0,
    None,
    (),
    {},
    [1.0, (2.0, [3.0])],
    {"b": 1.0, "a": {"c": [2.0]}},
    {2: 1.0, "a": 2.0, (1, 2): 3.0},
    Layer(1.0),
    Model([Layer(1.0, 2.0), Layer(3.0)]),
    Slotted(Slotted(1.0)),
    collections.OrderedDict(b=1.0, a=2.0),
    collections.defaultdict(list, a=1.0),
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_a_tree_is_rebuilt_from_its_leaves(tree):
    leaves, structure = flatten(tree)
    rebuilt = unflatten(structure, leaves)
    assert rebuilt == tree
    assert type(rebuilt) is type(tree)
    assert flatten(rebuilt)[1] == structure
    assert hash(flatten(rebuilt)[1]) == hash(structure)
    assert len(list(paths(structure))) == len(leaves)


def test_none_is_an_empty_subtree_and_an_array_a_leaf():
    leaves, structure = flatten({"a": None, "b": np.ones(2)})
    assert len(leaves) == 1
    assert str(structure) == "dict(a: None, b: *)"
    assert flatten(np.ones(3))[1] == LEAF


def test_equal_dicts_have_equal_structures_whatever_their_order():
    assert flatten({"a": 1, "b": 2})[1] == flatten({"b": 1, "a": 2})[1]
    assert flatten({"a": 1, "b": 2})[0] == flatten({"b": 2, "a": 1})[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1.0], (1.0,)),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": 1.0}, collections.OrderedDict(a=1.0)),
        (Layer(1.0), Layer(1.0, 2.0)),
        (Layer(1.0, 2.0), (1.0, 2.0)),
        (None, 1.0),
    ],
    ids=repr,
)
def test_other_containers_and_keys_are_other_structures(one, other):
    assert flatten(one)[1] != flatten(other)[1]
    with pytest.raises(StructureError, match="structure changed"):
        tree_map(lambda a, b: a, one, other)


def test_paths_read_like_python():
    _, structure = flatten({"layers": [Layer(1.0, 2.0), None], 3: (1.0,)})
    assert list(paths(structure)) == ["[3][0]", "layers[0].w", "layers[0].b"]


def test_keys_without_an_order_are_refused():
    with pytest.raises(StructureError, match="keys of a dict have no order") as caught:
        flatten({1j: 1.0, 2j: 2.0})
    assert __file__ in str(caught.value)


def test_trees_go_through_jit_and_grad():
    tree = {"a": Layer(np.ones(2)), "l": [np.ones(2), (np.ones(2),)], "m": Model(np.ones(2))}
    same = gl.jit(lambda t: t)(tree)
    assert flatten(same)[1] == flatten(tree)[1]

    def loss(t):
        weights = t["a"].w * t["l"][0] + t["m"].layers * t["m"].scale
        return weights.sum()

    for mode in (gl.settings, gl.eager):
        with mode():
            gradient = gl.grad(loss)(tree)
        assert flatten(gradient)[1] == flatten(tree)[1]
        assert gradient["a"].w.tolist() == [1.0, 1.0]
        assert gradient["l"][1][0].tolist() == [0.0, 0.0]
        assert gradient["m"].scale == 2.0
