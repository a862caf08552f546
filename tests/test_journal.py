import json

import pytest

from fer_jax.errors import InputError
from fer_jax.journal import Journal


def test_a_journal_goes_on_where_it_was(tmp_path):
    first = Journal(tmp_path / "j", {"model": "a", "n": 2}, ("row", "value"))
    first.add(row=[1, 2], value=0.5)
    first.add(value=[float("nan")], row=[3])
    again = Journal(tmp_path / "j", {"model": "a", "n": 2}, ("row", "value"))
    assert again.table["row"].tolist() == [1, 2, 3]
    assert again.table["value"].isna().tolist() == [False, False, True]
    assert json.loads((tmp_path / "j" / "settings.json").read_text()) == {"model": "a", "n": 2}


def test_findings_of_different_settings_are_never_mixed(tmp_path):
    Journal(tmp_path, {"model": "a", "n": 2}, ("row",))
    with pytest.raises(InputError, match=r"found with another model, n; begin in another folder"):
        Journal(tmp_path, {"model": "b"}, ("row",))


def test_an_addition_must_have_every_column(tmp_path):
    journal = Journal(tmp_path, {}, ("row", "value"))
    with pytest.raises(KeyError):
        journal.add(row=[1])
    assert journal.table.empty
