"""The order of rows: what the driver's text gives in plain Python, as native code."""

import numpy as np
import pytest

from gradloom.codegen import driver
from gradloom.runtime.orders import shuffle


@pytest.mark.parametrize(("rows", "key", "epoch"), [(1, (0, 0), 0), (101, (7, 2**32 - 1), 5)])
def test_an_order_is_that_of_the_driver(rows, key, epoch):
    scope = {"put": list.__setitem__, "get": list.__getitem__}
    exec(driver.SHUFFLE_TEXT, scope)
    wanted = [0] * rows
    scope["shuffle"](wanted, rows, *key, epoch)
    order = np.full(rows, -1)
    shuffle(order, key, epoch)
    assert order.tolist() == wanted
    assert sorted(wanted) == list(range(rows))
