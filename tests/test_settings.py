import threading
import warnings

import pytest

from gradloom.errors import GradloomError, SettingError
from gradloom.settings import Settings, current, read, settings


def test_an_empty_environment_gives_the_defaults():
    assert read({}) == Settings()
    assert read({"GRADLOOM_DEBUG": "", "HOME": "/"}) == Settings()


def test_every_variable_is_read():
    environment = {
        "GRADLOOM_DEBUG": "5",
        "GRADLOOM_DUMP": "fuse, plan",
        "GRADLOOM_DUMP_DIR": "there",
        "GRADLOOM_DISABLE": "simplify",
        "GRADLOOM_VERIFY": "2",
        "GRADLOOM_INTERPRET": "1",
        "GRADLOOM_CACHE": "0",
        "GRADLOOM_CACHE_DIR": "/cache",
    }
    wanted = Settings(
        debug=5,
        dump=("fuse", "plan"),
        dump_dir="there",
        disable=("simplify",),
        verify=2,
        interpret=True,
        cache=False,
        cache_dir="/cache",
    )
    assert read(environment) == wanted


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("GRADLOOM_DEBUG", "6", "one of 0, 1, 2, 3, 4, 5"),
        ("GRADLOOM_DEBUG", "loud", "one of 0, 1, 2, 3, 4, 5"),
        ("GRADLOOM_VERIFY", "-1", "one of 0, 1, 2"),
        ("GRADLOOM_INTERPRET", "yes", "0 or 1"),
        ("GRADLOOM_CACHE", "off", "0 or 1"),
        ("GRADLOOM_DUMP", "a b", "names with commas between them"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(variable, value, allowed):
    with pytest.raises(SettingError) as caught:
        read({variable: value})
    assert variable in str(caught.value)
    assert repr(value) in str(caught.value)
    assert allowed in str(caught.value)
    assert isinstance(caught.value, GradloomError)
    assert isinstance(caught.value, ValueError)


def test_an_unknown_variable_is_warned_of():
    with pytest.warns(UserWarning, match="GRADLOOM_DEBGU is no setting; there are GRADLOOM_CACHE,"):
        read({"GRADLOOM_DEBGU": "3"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read({"GRADLOOM": "3"})


def test_a_block_changes_settings_and_puts_them_back():
    before = current()
    with settings(debug=3, disable=["fuse"], interpret=True) as inside:
        assert inside is current()
        assert (inside.debug, inside.disable, inside.interpret) == (3, ("fuse",), True)
        with settings(debug=1):
            assert (current().debug, current().disable) == (1, ("fuse",))
        assert current() is inside
    assert current() is before


def test_settings_are_put_back_after_an_error():
    before = current()
    with pytest.raises(KeyError), settings(verify=2):
        raise KeyError
    assert current() is before


def test_a_block_is_of_one_thread():
    seen = []
    with settings(debug=4):
        thread = threading.Thread(target=lambda: seen.append(current().debug))
        thread.start()
        thread.join()
    assert seen == [read({}).debug]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"debug": 9}, "debug is '9'; it must be one of 0, 1, 2, 3, 4, 5"),
        ({"cache": "maybe"}, "cache is 'maybe'; it must be 0 or 1"),
        ({"speed": 1}, "speed is no setting; there are debug, dump,"),
    ],
)
def test_a_wrong_change_is_refused(changes, text):
    with pytest.raises(SettingError, match=text), settings(**changes):
        pass
