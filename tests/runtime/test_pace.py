"""One thread or the team: whoever takes less time gets nearly all of the calls."""

import pytest

from gradloom.runtime.pace import FIRST, TRIAL, Pace


def passes(pace, costs, calls, most=1):
    """How many passes each size got, when a pass takes it so many nanoseconds."""
    got = dict.fromkeys(costs, 0)
    for _ in range(calls):
        size, count = pace.next(most)
        assert 1 <= count <= most
        pace.tell(size, count, count * costs[size])
        got[size] += count
    return got


@pytest.mark.parametrize("most", [1, 10**6])
def test_a_team_that_is_faster_is_kept(most):
    got = passes(Pace(2), {1: 100e3, 2: 60e3}, 20_000, most)
    assert got[1] < 0.01 * got[2]
    assert got[1] >= TRIAL


@pytest.mark.parametrize("most", [1, 10**6])
def test_a_team_that_is_slower_is_left(most):
    got = passes(Pace(2), {1: 100e3, 2: 1500e3}, 20_000, most)
    assert got[2] * 1500e3 < 0.05 * got[1] * 100e3


def test_it_follows_what_changes():
    pace = Pace(3)
    passes(pace, {1: 100e3, 3: 900e3}, 1000)
    assert pace.size == 1
    passes(pace, {1: 100e3, 3: 40e3}, 30_000)
    assert pace.size == 3


def test_a_first_window_is_short():
    pace = Pace(2)
    got = passes(pace, {1: 100e3, 2: 1e6}, 100)
    assert got[2] * 1e6 <= FIRST + 2 * TRIAL * 1e6


def test_trials_of_long_passes_are_single_and_rare():
    got = passes(Pace(2), {1: 12e6, 2: 9e6}, 100, most=4)
    assert got[1] <= 0.03 * got[2]


def test_one_slow_pass_costs_few():
    """A way that lost by chance is tried again soon."""
    pace = Pace(2)
    passes(pace, {1: 12e6, 2: 30e6}, 4)
    assert pace.size == 1
    got = passes(pace, {1: 12e6, 2: 9e6}, 100)
    assert got[1] <= 0.1 * got[2]


def test_the_first_call_does_not_count():
    pace = Pace(2)
    pace.tell(*pace.next(), 1e9)
    assert passes(pace, {1: 12e6, 2: 9e6}, 100)[1] <= 3


def test_a_trial_ends_once_it_is_lost():
    """Passes that a busy neighbour makes ten times as long are soon over, and tried again soon."""
    pace = Pace(2)
    costs = {1: 400e3, 2: 4e6}
    got = passes(pace, costs, 30)
    assert pace.size == 1
    assert got[2] <= 5
    later = passes(pace, {1: 400e3, 2: 250e3}, 400)
    assert pace.size == 2
    assert later[2] > later[1]


def test_who_must_wake_first_is_not_thought_slow():
    pace = Pace(2)
    passes(pace, {1: 50e3, 2: 60e3}, 200)
    assert pace.size == 1
    while not pace.trying:
        pace.tell(1, 1, 50e3)
    for cost in (150e3, 40e3, 40e3, 40e3, 40e3):
        size, count = pace.next()
        assert (size, count) == (2, 1)
        pace.tell(size, count, cost)
    assert pace.size == 2
