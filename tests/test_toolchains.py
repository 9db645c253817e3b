"""The table of what works with which CUDA compiler, as it was written last."""

from tests.toolchains import TABLE, entries, read, written


def test_the_table_has_every_row_in_every_column():
    columns = read(TABLE.read_text())
    assert columns
    for title, column in columns.items():
        assert list(column) == list(entries("")), title
        assert all(column.values()), title


def test_the_table_is_what_is_written():
    text = TABLE.read_text()
    assert written(read(text)) == text


def test_what_is_written_is_read():
    column = dict.fromkeys(entries(""), "agrees")
    assert read(written({"one": column, "two": column})) == {"one": column, "two": column}
    assert read("") == {}
