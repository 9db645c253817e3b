"""Buffers in one block of memory: apart while they live together, and packed tightly."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from gradloom.plan.arena import ALIGNMENT, padded, place
from gradloom.plan.schedule import lifetimes, peak

LIFE = st.tuples(st.integers(0, 12), st.integers(0, 6)).map(lambda t: (t[0], t[0] + t[1]))


@st.composite
def programs(draw):
    """Sizes, lives, and who is written over whom: an heir of equal size, born as the other dies."""
    sizes = draw(st.lists(st.sampled_from([0, 1, 64, 65, 100, 640, 4096]), min_size=1, max_size=20))
    lives = [draw(LIFE) for _ in sizes]
    same = {}
    for old in range(len(sizes)):
        if draw(st.integers(0, 3)) == 3:
            same[len(sizes)] = old
            sizes.append(sizes[old])
            lives.append((lives[old][1], lives[old][1] + draw(st.integers(0, 4))))
    return sizes, lives, same


@given(programs())
def test_what_lives_together_lies_apart(program):
    sizes, lives, same = program
    offsets, total = place(sizes, lives, same)
    for one, other in combinations(range(len(sizes)), 2):
        together = lives[one][0] <= lives[other][1] and lives[other][0] <= lives[one][1]
        if together and same.get(other) != one:
            first, last = sorted((one, other), key=lambda i: offsets[i])
            assert offsets[first] + sizes[first] <= offsets[last]
    for new, old in same.items():
        assert offsets[new] == offsets[old]
    for size, offset in zip(sizes, offsets, strict=True):
        assert offset % ALIGNMENT == 0
        assert offset + size <= total


@given(programs())
def test_the_total_lies_between_the_peak_and_all_side_by_side(program):
    sizes, lives, _ = program
    wide = [padded(n) for n in sizes]
    _, total = place(sizes, lives)
    assert peak(lives, wide, 32) <= total <= sum(wide)
    assert place(sizes, lives) == place(sizes, lives)


def test_no_buffers_take_no_memory():
    assert place([], []) == ([], 0)


def test_the_smallest_gap_that_fits_is_taken():
    # When the last one is born, the second and the fourth have left gaps of 512 and 256 bytes.
    sizes = [640, 512, 384, 256, 192, 128]
    lives = [(0, 2), (0, 1), (0, 2), (0, 1), (0, 2), (2, 2)]
    offsets, total = place(sizes, lives)
    assert offsets == [0, 640, 1152, 1536, 1792, 1536]
    assert total == sum(sizes[:5])


def test_a_chain_of_heirs_is_one_place():
    offsets, total = place([64] * 3, [(0, 1), (1, 2), (2, 3)], {1: 0, 2: 1})
    assert offsets == [0, 0, 0]
    assert total == 64


def test_lifetimes_and_peak():
    touched = [{0, 1}, {1, 2}, {2}]
    assert lifetimes([0, 1, 2], touched, 3) == [(0, 0), (0, 1), (1, 2)]
    assert lifetimes([2, 1, 0], touched, 4)[3] == (3, -1)
    assert peak([(0, 0), (0, 1), (1, 2), (3, -1)], [10, 20, 5, 99], 3) == 30
