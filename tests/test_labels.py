import pytest

from fer_jax import labels
from fer_jax.errors import InputError


def test_a_label_set_is_found_by_its_name():
    assert labels.names("fer2013") == labels.EMOTIONS and len(labels.EMOTIONS) == 7
    assert labels.names("ferplus") == (*labels.EMOTIONS, "contempt")
    assert labels.names("mnist") == tuple(map(str, range(10)))


def test_no_two_label_sets_are_equal():
    """A model file that names no label set is known by its labels."""
    assert len(set(labels.LABEL_SETS.values())) == len(labels.LABEL_SETS)


def test_an_unknown_label_set_is_refused():
    with pytest.raises(InputError) as caught:
        labels.names("cifar10")
    expected = "unknown label set 'cifar10': expected one of fer2013, ferplus, mnist"
    assert str(caught.value) == expected


def test_every_emotion_has_a_valence():
    assert len(labels.VALENCE) == len(labels.FERPLUS_EMOTIONS)
    valence = dict(zip(labels.FERPLUS_EMOTIONS, labels.VALENCE, strict=True))
    assert (valence["happy"], valence["contempt"], valence["surprise"]) == (1, -1, 0)


def test_an_emotion_is_found_in_any_case():
    assert labels.index(" Sad ") == labels.EMOTIONS.index("sad")
    with pytest.raises(InputError, match="unknown emotion 'contempt': expected one of angry, "):
        labels.index("contempt")
