import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_jax.data.fer2013 import Fer2013, Split, bundle
from fer_jax.data.ferplus import Votes, expected_labels
from fer_jax.data.protocols import pixel_groups, protocol, reported_by, sample, seen_in_training
from fer_jax.errors import InputError


def numbered(groups: np.ndarray, labels: np.ndarray) -> Split:
    """Images that are equal where the group numbers are."""
    images = np.zeros((len(groups), 48, 48), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = groups % 256, groups // 256
    return Split(images, np.asarray(labels, np.int32))


@st.composite
def data_sets(draw) -> Fer2013:
    """200 training rows in groups of one to a few copies, which may have different labels; groups
    recur in the test rows.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kinds = draw(st.sampled_from([40, 150, 5000]))

    def split(n: int) -> Split:
        groups = rng.integers(0, kinds, n)
        return numbered(groups, np.where(rng.random(n) < 0.9, groups % 7, rng.integers(0, 7, n)))

    return bundle(split(200), split(20), split(30))


def keys(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]


def rows(split: Split) -> list[tuple[bytes, int]]:
    return [(image.tobytes(), int(label)) for image, label in zip(*split, strict=True)]


@pytest.mark.parametrize("name", ["train-only", "kaggle"])
def test_votes_take_their_share_of_the_targets_on_rows_that_are_trained_on(name):
    rng = np.random.default_rng(0)
    labels = np.arange(350) % 7
    data = bundle(
        *(numbered(np.arange(n) + 1000 * i, labels[:n]) for i, n in enumerate((350, 20, 30)))
    )
    votes = Votes(*(rng.integers(0, 2, (n, 10)).astype(np.uint8) for n in (350, 20, 30)))
    plain, voted = (protocol(data, name, votes=votes, share=share) for share in (0.0, 0.25))
    for part in ("train", "select", "report"):
        np.testing.assert_array_equal(getattr(voted, part).labels, getattr(plain, part).labels)
    trained = np.isin(keys(data.train), keys(voted.train))
    expected = expected_labels(votes.training[trained], voted.train.labels)
    np.testing.assert_allclose(voted.targets, 0.75 * plain.targets + 0.25 * expected, atol=1e-6)
    votes.training[~trained] = 9  # nothing is learned from votes on rows that select
    np.testing.assert_array_equal(
        protocol(data, name, votes=votes, share=0.25).targets, voted.targets
    )


@settings(max_examples=40, deadline=None)
@given(data=data_sets(), seed=st.integers(0, 100), holdout=st.sampled_from([0.1, 0.25, 0.5]))
def test_train_only(data, seed, holdout):
    split = protocol(data, "train-only", seed=seed, holdout=holdout)
    # all copies of an image on one side
    assert not set(keys(split.train)) & set(keys(split.select))
    # none lost, none twice
    assert sorted(rows(split.train) + rows(split.select)) == sorted(rows(data.train))
    assert rows(split.report) == rows(data.public_test) + rows(data.private_test)
    whole, held = (np.bincount(part.labels, minlength=7) for part in (data.train, split.select))
    assert (held <= np.round(holdout * whole)).all()
    again = protocol(data, "train-only", seed=seed, holdout=holdout)
    np.testing.assert_array_equal(split.targets, np.eye(7)[split.train.labels])
    for one, other in zip(split[1:4], again[1:4], strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


@given(seed=st.integers(0, 100), holdout=st.floats(0.05, 0.5))
@settings(max_examples=20, deadline=None)
def test_hold_out_has_each_class_in_proportion(seed, holdout):
    """All images single but for some pairs: every class gets its share to the row."""
    groups = np.concatenate([np.arange(400), np.arange(40)])
    data = bundle(numbered(groups, groups % 7), *[numbered(np.arange(3), np.arange(3))] * 2)
    split = protocol(data, seed=seed, holdout=holdout)
    whole, held = (np.bincount(part.labels, minlength=7) for part in (data.train, split.select))
    assert (np.abs(held - holdout * whole) <= 1.5).all()


def test_seeds_draw_different_hold_outs_in_the_original_order():
    groups = np.arange(300)
    data = bundle(numbered(groups, groups % 7), *[numbered(np.arange(3), np.arange(3))] * 2)
    drawn = [pixel_values(protocol(data, seed=seed).select) for seed in (0, 1)]
    assert drawn[0] != drawn[1]
    assert all(values == sorted(values) for values in drawn)


def pixel_values(split: Split) -> list[int]:
    return [int(image[0, 0]) + 256 * int(image[0, 1]) for image in split.images]


@given(data=data_sets())
@settings(max_examples=5, deadline=None)
def test_kaggle(data):
    split = protocol(data, "kaggle")
    assert split.train is data.train
    assert split.select is data.public_test
    assert split.report is data.private_test
    np.testing.assert_array_equal(split.targets.argmax(axis=1), data.train.labels)


def votes_for(split: Split, undecided: int) -> np.ndarray:
    """Nine for the class after each label (contempt after the last) and one stray; the first rows
    are split evenly.
    """
    votes = np.zeros((len(split.labels), 10), np.uint8)
    votes[np.arange(len(votes)), split.labels + 1] = 9
    votes[:, 9] = 1
    votes[:undecided] = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]
    return votes


@pytest.mark.parametrize(("name", "kept"), [("ferplus-majority", 16), ("ferplus-probability", 20)])
def test_ferplus_trains_on_votes_and_judges_by_majorities(name, kept):
    data = bundle(*[numbered(np.arange(n), np.arange(n) % 7) for n in (20, 15, 10)])
    votes = Votes(
        *(votes_for(split, 4) for split in (data.train, data.public_test, data.private_test))
    )
    split = protocol(data, name, votes=votes)
    assert [len(part.labels) for part in (split.train, split.select, split.report)] == [kept, 11, 6]
    np.testing.assert_array_equal(split.report.images, data.private_test.images[4:])
    np.testing.assert_array_equal(split.report.labels, data.private_test.labels[4:] + 1)
    np.testing.assert_array_equal(split.train.labels[-16:], data.train.labels[4:] + 1)
    assert (split.targets[:-16] == np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0])).all()
    np.testing.assert_array_equal(split.targets[-16:], np.eye(8)[split.train.labels[-16:]])


def test_what_is_reported_was_not_selected_on(tmp_path):
    train, public, private = (
        numbered(np.arange(*span), np.zeros(3)) for span in ((0, 3), (2, 5), (5, 8))
    )
    data = bundle(train, public, private)  # the first row of PublicTest occurs in Training
    split, subsets = reported_by({}, "fer2013", data, tmp_path)
    assert {name: rows.tolist() for name, rows in subsets.items()} == {
        "all": [True] * 6,
        "PublicTest": [True, True, True, False, False, False],
        "PrivateTest": [False, False, False, True, True, True],
        "all without rows whose pixels occur in training": [False, True, True, True, True, True],
        "PublicTest without them": [False, True, True, False, False, False],
        "PrivateTest without them": [False, False, False, True, True, True],
    }
    split, subsets = reported_by({"protocol": "kaggle"}, "fer2013", data, tmp_path)
    assert split is data.private_test
    assert [rows.tolist() for rows in subsets.values()] == [[True] * 3] * 2


def test_a_model_files_protocol_decides_what_it_is_reported_on(tmp_path):
    data = bundle(*(numbered(np.arange(*span), np.zeros(3)) for span in ((0, 3), (3, 6), (6, 9))))
    assert len(reported_by({}, "fer2013", data, tmp_path)[0].labels) == 6
    kaggle = reported_by({"protocol": "kaggle"}, "ferplus", data, tmp_path)
    assert kaggle[0] is data.private_test
    with pytest.raises(InputError, match=r"must know its emotions, .* labels of mnist"):
        reported_by({}, "mnist", data, tmp_path)
    with pytest.raises(InputError, match="unknown protocol '3'"):
        reported_by({"protocol": 3}, "fer2013", data, tmp_path)
    with pytest.raises(InputError, match=r"fer2013new\.csv"):  # the votes are missing
        reported_by({"protocol": "ferplus-majority"}, "ferplus", data, tmp_path)


@given(data=data_sets())
@settings(max_examples=10, deadline=None)
def test_seen_in_training_and_groups_agree_with_plain_comparison(data):
    test, train = data.public_test, data.train
    equal = (test.images[:, None] == train.images[None]).all(axis=(2, 3))
    np.testing.assert_array_equal(seen_in_training(test, train), equal.any(axis=1))
    groups = pixel_groups(train.images[:50])
    pairs = (train.images[:50, None] == train.images[None, :50]).all(axis=(2, 3))
    np.testing.assert_array_equal(groups[:, None] == groups[None], pairs)


@pytest.mark.parametrize("holdout", [0, -0.1, 0.51, 1, float("nan")])
def test_holdout_out_of_range_is_refused(holdout):
    data = bundle(*[numbered(np.arange(20), np.arange(20) % 7)] * 3)
    with pytest.raises(InputError, match=r"holdout must be above 0 and at most 0.5, received"):
        protocol(data, holdout=holdout)


def test_unknown_names_and_empty_parts_are_refused():
    three, none = numbered(np.arange(3), np.arange(3)), numbered(np.arange(0), np.arange(0))
    with pytest.raises(
        InputError, match="unknown protocol 'kagle': expected train-only, kaggle or, with"
    ):
        protocol(bundle(three, three, three), "kagle")
    for name, data, part in (
        ("train-only", bundle(three, three, three), "select"),  # a tenth of three rows is none
        ("train-only", bundle(none, three, three), "train"),
        ("kaggle", bundle(three, none, three), "select"),
        ("kaggle", bundle(three, three, none), "report"),
    ):
        with pytest.raises(InputError, match=f"protocol {name}: the data leave no rows to {part}"):
            protocol(data, name)


def test_a_sample_is_always_the_same_rows():
    split = numbered(np.arange(50), np.zeros(50))
    rows = sample(split, 20)
    assert np.array_equal(rows, sample(split, 20))
    assert (np.diff(rows) > 0).all()
    assert set(rows) <= set(range(50))
    assert sample(split, 50).tolist() == list(range(50))
    for n in (0, 51):
        with pytest.raises(InputError, match=rf"--images must be in 1\.\.50, .* received {n}"):
            sample(split, n, "--images")
