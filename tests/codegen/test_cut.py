"""A driver cut where its team meets does what the whole driver does."""

import numpy as np
import pytest

from gradloom.codegen.cut import cut, settled
from gradloom.codegen.primitives import namespace

HEAD = """\
def program(table, arena, control, worker, team):
    lower = cut(worker, team)
    upper = cut(worker + 1, team)
    x = get_ptr(table, 0)
    y = view(arena, 0)
    n = view(arena, 64)
"""
ROWS = """\
    add(share(8, 3, lower), share(8, 3, upper), 1, x, y)
    for round_0 in range(3):
        r = view(y, round_0 * 16)
        meet(control, team)  # one writes what another reads
        add(share(2, 1, lower), share(2, 1, upper), round_0, r, r)
        for round_1 in range(1, -1, -1):
            s = view(r, round_1 * 8)
            meet(control, team)
            if worker == 0:
                add(0, 1, 10 * round_1 + round_0, s, x)
"""
WHILE = """\
    if worker == 0:
        add(0, 1, 0, x, n)
    while True:
        meet(control, team)
        if get(n, 0) == 0:
            break
        add(share(8, 1, lower), share(8, 1, upper), 2, x, x)
        meet(control, team)
        if worker == 0:
            add(0, 1, -1, n, n)
"""
BRANCH = """\
    if worker == 0:
        add(0, 1, 0, x, n)
    meet(control, team)
    case_0 = get(n, 0)
    if case_0 <= 0:
        add(0, 8, 5, x, x)
    elif case_0 == {chosen}:
        add(share(8, 1, lower), share(8, 1, upper), 7, x, y)
        meet(control, team)
        add(share(8, 1, lower), share(8, 1, upper), 7, y, x)
    else:
        add(share(8, 1, lower), share(8, 1, upper), 9, x, x)
"""
FLAT_BRANCH = """\
    case_0 = get(x, 0)
    if case_0 <= 3:
        add(share(8, 1, lower), share(8, 1, upper), 5, x, y)
    else:
        add(share(8, 1, lower), share(8, 1, upper), 7, x, y)
"""
MODE = """\
    mode = get(control, 5)
    if mode == 0:
        z = view(x, 0)
    else:
        z = view(arena, 64)
    if mode != 0:
        add(share(8, 1, lower), share(8, 1, upper), 100, x, z)
        meet(control, team)
    add(share(8, 1, lower), share(8, 1, upper), 1, z, y)
"""
# Of each: how many groups, whether the host needs to know no number of the device's.
DRIVERS = {
    "rows": (ROWS, 3, True),
    "while": (WHILE, 3, False),
    "first branch": (BRANCH.format(chosen=7), 5, False),
    "second branch": (BRANCH.format(chosen=3), 5, False),
    "branch in which nobody meets": (FLAT_BRANCH, 1, True),
    "mode": (MODE, 2, True),
}


def add(start, stop, number, source, target):
    """A stage: int64 elements."""
    for at in range(start, stop):
        target[8 * at : 8 * at + 8] = (source[8 * at : 8 * at + 8].view(np.int64) + number).view(
            "u1"
        )


def memory(mode):
    x = np.arange(8)
    x[0] = 3
    control = np.zeros(48, np.int64)
    control[5] = mode
    return x.view(np.uint8), np.zeros(256, np.uint8), control.view(np.uint8)


def alone(text, mode):
    """By one who computes addresses where they are needed."""
    return whole(settled(text), mode)


def whole(text, mode):
    x, arena, control = memory(mode)
    names = namespace() | {"add": add}
    exec(text, names)
    names["program"]([x], arena, control, 0, 1)
    return x, arena


def in_groups(text, mode, team=3):
    """Each group by a team of which one after another runs to its end."""
    x, arena, control = memory(mode)
    groups, host = cut(text)

    def launch(number, *more):
        group = groups[number]
        names = namespace() | {"add": add, "meet": None}
        exec(group.text, names)
        for worker in range(team):
            names[group.name]([x], arena, control, worker, team, *more)

    names = namespace() | {"launch": launch}
    exec(host.text, names)
    names["program"]([x], arena, control)
    return x, arena


@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("mode", [0, 1])
def test_groups_one_after_another_do_what_the_driver_does(name, mode):
    body, groups, straight = DRIVERS[name]
    text = HEAD + body + "    return 0\n"
    made, host = cut(text)
    assert (len(made), host.straight) == (groups, straight)
    for run in in_groups, alone:
        for got, want in zip(run(text, mode), whole(text, mode), strict=True):
            assert got.tolist() == want.tolist()


def test_a_group_has_what_it_needs_and_no_more():
    text = HEAD + ROWS + "    return 0\n"
    (first, second, third), _ = cut(text)
    assert first.text.count(" = ") == 6  # lower, upper, the part, x, y
    assert (first.more, second.more) == ((), ("round_0",))
    assert third.more == ("round_0", "round_1")
    assert [group.grains for group in (first, second, third)] == [3, 2, 1]
    assert "round_0 * 16" in third.text
    assert "lower" not in third.text


def test_who_has_no_part_of_a_stage_computes_no_addresses():
    text = settled(HEAD + ROWS + "    return 0\n")
    lines = text.splitlines()
    at = lines.index("    if part_start < part_stop:")
    assert lines[at + 1 : at + 3] == ["        x = get_ptr(table, 0)", "        y = view(arena, 0)"]
    assert not any("get_ptr" in line or "view" in line for line in lines[:at])
    assert text.count("meet") == 2


COUNTED = """\
def count(control, until, loop):
    put(control, 0, get(control, 0) + 1)


def program(table, arena, control, worker, team, loop):
    done = get(control, 0)
    x = view(get_ptr(table, 0), {place})
    until = get(control, 3)
    add(0, 8, 1, x, x)
    meet(control, team)
    add(0, 8, 2, x, x)
    meet(control, team)
    if worker == 0:
        count(control, until, loop)
    return 0
"""


@pytest.mark.parametrize(("place", "groups"), [("0", 2), ("done * 8", 3)])
def test_a_pass_is_counted_by_a_group_that_does_not_read_how_many_there_were(place, groups):
    made, host = cut(COUNTED.format(place=place))
    assert (len(made), host.more) == (groups, ("loop",))
    last = made[-1]
    assert (last.more, "count" in last.stages, "def count" in last.text) == (("loop",), True, True)
    assert host.text.endswith(f"launch({groups - 1}, loop)")
