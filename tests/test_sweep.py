"""The sweep over the float32 numbers: that the command works, and its bound on a few of them."""

import pytest

from tests import sweep

COARSE = (1 << 32) // 20000 | 1


@pytest.mark.parametrize("name", sorted(sweep.FUNCTIONS))
def test_every_function_is_within_two_units(name, monkeypatch):
    monkeypatch.setattr(sweep, "BLOCK", 4096)
    worst = sweep.sweep(name, COARSE)
    assert worst.count >= 20000
    assert worst.ulps <= 2, worst


def test_the_command_prints_a_line_a_function(monkeypatch, capsys):
    monkeypatch.setattr(sweep, "BLOCK", 1024)
    assert sweep.main(["--function", "tanh", "--function", "exp", "--stride", "5000011"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["tanh", "exp"]
    assert all("ULP of 1024 numbers" in line for line in lines)
