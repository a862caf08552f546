import json

import numpy as np
import pytest

from fer_jax.errors import InputError
from fer_jax.robustness.journal import Journal


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


def test_findings_of_unknown_settings_and_broken_files_are_refused(tmp_path):
    settings = {"model": "a"}
    Journal(tmp_path, settings, ("row", "value")).add(row=[1], value=0.5)
    with pytest.raises(
        InputError, match=r"found\.csv: must have the columns row, eps, received row, value"
    ):
        Journal(tmp_path, settings, ("row", "eps"))
    found, told = tmp_path / "found.csv", tmp_path / "settings.json"
    text = told.read_text()
    told.write_text("{")
    with pytest.raises(InputError, match=r"settings\.json: must be JSON"):
        Journal(tmp_path, settings, ("row", "value"))
    told.unlink()
    with pytest.raises(
        InputError, match=r"found\.csv: was found with settings that settings\.json does not tell"
    ):
        Journal(tmp_path, settings, ("row", "value"))
    assert not told.exists()
    told.write_text(text)
    found.write_text("")
    with pytest.raises(InputError, match=r"found\.csv: must be a table in CSV"):
        Journal(tmp_path, settings, ("row", "value"))


def test_numbers_come_back_as_they_were(tmp_path):
    values = [4 / 255, 0.1 + 0.2, -1.0, float("inf")]
    Journal(tmp_path, {}, ("value",)).add(value=values)
    assert Journal(tmp_path, {}, ("value",)).table["value"].tolist() == pytest.approx(
        values, rel=1e-14
    )


def test_an_addition_must_have_every_column(tmp_path):
    journal = Journal(tmp_path, {}, ("row", "value"))
    with pytest.raises(KeyError):
        journal.add(row=[1])
    assert journal.table.empty


def test_what_is_missing_comes_in_the_same_pieces_wherever_it_was_stopped(tmp_path):
    rows = np.arange(10, 20)
    journal = Journal(tmp_path, {}, ("eps", "kind", "row"))
    missing = lambda **where: [piece.tolist() for piece in journal.missing(rows, 4, **where)]
    whole = [[10, 11, 12, 13], [14, 15, 16], [17, 18, 19]]
    assert missing(eps=2 / 255, kind="a") == whole
    journal.add(eps=0.00784313725, kind="a", row=[14, 15, 16, 11])
    assert missing(eps=2 / 255, kind="a") == [[10, 12, 13], whole[2]]
    assert missing(eps=2 / 255, kind="b") == missing(eps=3 / 255) == whole


def test_what_is_added_meanwhile_does_not_come_again(tmp_path):
    journal = Journal(tmp_path, {}, ("kind", "row"))
    for piece in journal.missing(np.arange(5), 2, kind="a"):
        journal.add(kind="a", row=piece)
    assert journal.table["row"].tolist() == [0, 1, 2, 3, 4]
    assert not list(journal.missing(np.arange(5), 2, kind="a"))
