import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from fer_jax.data import ferplus, tables
from fer_jax.data.fer2013 import PUBLISHED, Fer2013, Split, bundle
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS, FERPLUS_EMOTIONS

HEADER = (
    "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
)


def labelled(*sizes: int) -> Fer2013:
    """Labels count 0, 1, 2, ... 6, 0, ... in each split."""
    splits = [
        Split(np.zeros((n, 48, 48), np.uint8), np.arange(n, dtype=np.int32) % 7) for n in sizes
    ]
    return bundle(*splits)


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def row(**votes: int) -> np.ndarray:
    """One row of votes; an unnamed column has none."""
    return np.array([[votes.get(name.replace(" ", "_"), 0) for name in ferplus.COLUMNS]], np.uint8)


def test_the_first_seven_classes_are_ours():
    assert FERPLUS_EMOTIONS[:7] == EMOTIONS and FERPLUS_EMOTIONS[7:] == ("contempt",)
    assert ferplus.COLUMNS[:8] == FERPLUS_EMOTIONS and ferplus.COLUMNS[8:] == (
        "unknown",
        "not a face",
    )


def test_votes_are_read_by_column_name_and_placed_by_split(tmp_path):
    path = write(
        tmp_path / "fer2013new.csv",
        "PrivateTest,fer0000000.png,0,1,2,3,4,0,0,0,0,0",
        "Training,,0,0,0,0,0,0,0,0,0,10",
        "PublicTest,fer0000001.png,0,0,0,0,0,5,4,1,0,0",
        "Training,fer0000002.png,6,0,0,0,0,0,0,0,3,0",
    )
    votes = ferplus.read(path, labelled(2, 1, 1))
    np.testing.assert_array_equal(
        votes.training, np.concatenate([row(not_a_face=10), row(neutral=6, unknown=3)])
    )
    np.testing.assert_array_equal(votes.public_test, row(disgust=5, fear=4, contempt=1))
    np.testing.assert_array_equal(votes.private_test, row(happy=1, surprise=2, sad=3, angry=4))
    assert all(counts.dtype == np.uint8 for counts in votes)

    names = HEADER.split(",")
    with path.open() as stream:
        table = list(csv.DictReader(stream))
    lines = [",".join(cells[name] for name in reversed(names)) for cells in table]
    turned = ferplus.read(
        write(tmp_path / "turned.csv", *lines, header=",".join(reversed(names))), labelled(2, 1, 1)
    )
    for expected, received in zip(votes, turned, strict=True):
        np.testing.assert_array_equal(received, expected)


GOOD = "Training,fer0000000.png,10,0,0,0,0,0,0,0,0,0"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("Training,x.png,10,0,0,0,0,0,0,0,0", "2: a row must have 12 columns, received 11"),
        (GOOD + ",0", "2: a row must have 12 columns, received 13"),
        (
            "Test,x.png,10,0,0,0,0,0,0,0,0,0",
            "2: Usage must be one of Training, PublicTest, PrivateTest, received 'Test'",
        ),
        (
            "Training,x.png,-1,0,0,0,0,0,0,0,0,0",
            "2: neutral must be an integer from 0 to 10, received '-1'",
        ),
        (
            "Training,x.png,0,11,0,0,0,0,0,0,0,0",
            "2: happiness must be an integer from 0 to 10, received '11'",
        ),
        ("Training,x.png,0,0,0,0,0,0,0,0,0,", "2: NF must be an integer from 0 to 10, received ''"),
        (
            "Training,x.png,0,0,0,0,two,0,0,0,0,0",
            "2: anger must be an integer from 0 to 10, received 'two'",
        ),
        (
            "Training,x.png,0,0,0,0,0,0,1.0,0,0,0",
            "2: fear must be an integer from 0 to 10, received '1.0'",
        ),
        (
            "Training,x.png,0,0,0,0,0,0,0,٣,0,0",
            "2: contempt must be an integer from 0 to 10, received '٣'",
        ),
        ("Training,x.png,6,0,0,5,0,0,0,0,0,0", "2: a row must have at most 10 votes, received 11"),
        ("", " must have 2 Training rows, one for each image of the data, received 1"),
        (
            f"{GOOD}\n{GOOD}",
            " must have 2 Training rows, one for each image of the data, received 3",
        ),
        ('Training,"x', " line 3: must be a CSV row"),
        (f"Training,{'x' * 200_000}", " line 3: must have less than 65536 bytes"),
    ],
)
def test_bad_rows_are_refused(line, rule, tmp_path):
    path = write(tmp_path / "fer2013new.csv", GOOD, line)
    with pytest.raises(InputError) as error:
        ferplus.read(path, labelled(2, 0, 0))
    assert str(error.value).startswith(f"{path}:{rule}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "the header must name the column 'Usage' once, received ''"),
        (
            HEADER.replace("fear", "fears").encode(),
            "the header must name the column 'fear' once, received 'Usage,Image name,neutral",
        ),
        (
            HEADER.replace("fear", "anger").encode(),
            "the header must name the column 'anger' once, received 'Usage,Image name,neutral",
        ),
        (HEADER.replace(",NF", "").encode(), "the header must name the column 'NF' once"),
        (
            b"emotion,pixels,Usage\n",
            "the header must name the column 'anger' once, received 'emotion,pixels,Usage'",
        ),
        (b"\x89PNG" + bytes(range(256)), "line 1: must be UTF-8 text"),
    ],
)
def test_what_is_no_vote_table_is_refused(content, rule, tmp_path):
    path = tmp_path / "fer2013new.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        ferplus.read(path, labelled(1, 0, 0))
    assert str(error.value).startswith(f"{path}: {rule}")
    assert "\n" not in str(error.value)


def test_an_oversized_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROWS", 19)
    path = write(tmp_path / "fer2013new.csv", *[GOOD] * 20)
    with pytest.raises(InputError, match="must have at most 19 lines"):
        ferplus.read(path, labelled(20, 0, 0))


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(
        InputError, match=rf"absent\.csv: .* download fer2013new.csv from {ferplus.PAGE}"
    ):
        ferplus.read(tmp_path / "absent.csv", labelled(1, 1, 1))


def test_votes_of_rows_in_another_order_are_refused(tmp_path):
    data = labelled(140, 0, 0)
    place = {"angry": 4, "disgust": 5, "fear": 6, "happy": 1, "sad": 3, "surprise": 2, "neutral": 0}

    def line(label: int) -> str:
        counts = [0] * 10
        counts[place[EMOTIONS[label]]] = 10
        return f"Training,x.png,{','.join(map(str, counts))}"

    path = write(tmp_path / "fer2013new.csv", *(line(label) for label in data.train.labels))
    assert (
        ferplus.majority(ferplus.read(path, data).training).targets.argmax(axis=1)
        == data.train.labels
    ).all()
    path = write(
        tmp_path / "fer2013new.csv", *(line(label) for label in np.sort(data.train.labels))
    )
    with pytest.raises(
        InputError,
        match=r"must be those of the data's rows, but agree with \d+% of the Training labels",
    ):
        ferplus.read(path, data)


# Expected: the classes that get a target, with their shares; none where the row is left out.
MAJORITY = [
    ({"happy": 10}, "happy"),
    ({"happy": 6, "sad": 4}, "happy"),
    ({"happy": 5, "sad": 5}, None),
    ({"happy": 5, "sad": 4, "fear": 1}, "happy"),  # 5 of the 9 votes left once the outlier is gone
    ({"happy": 4, "sad": 3, "fear": 3}, None),
    (
        {
            "happy": 3,
            "sad": 2,
            **dict.fromkeys(["angry", "fear", "disgust", "neutral", "contempt"], 1),
        },
        "happy",
    ),
    ({"contempt": 6, "neutral": 4}, "contempt"),
    ({"unknown": 6, "sad": 4}, None),
    ({"not_a_face": 10}, None),
    (
        dict.fromkeys(
            ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"], 1
        ),
        None,
    ),
]


@pytest.mark.parametrize(("votes", "winner"), MAJORITY)
def test_majority(votes, winner):
    targets, keep = ferplus.majority(row(**votes))
    expected = [[float(name == winner) for name in FERPLUS_EMOTIONS]]
    np.testing.assert_array_equal(targets, np.array(expected, np.float32))
    assert keep.tolist() == [winner is not None]
    assert targets.dtype == np.float32 and keep.dtype == bool


PROBABILISTIC = [
    ({"happy": 10}, {"happy": 1}),
    ({"happy": 8, "sad": 2}, {"happy": 1}),  # the first holds three quarters
    ({"happy": 6, "sad": 4}, {"happy": 0.6, "sad": 0.4}),
    ({"happy": 6, "sad": 3, "fear": 1}, {"happy": 6 / 9, "sad": 3 / 9}),  # the outlier is gone
    ({"happy": 4, "sad": 3, "fear": 3}, {"happy": 0.4, "sad": 0.3, "fear": 0.3}),
    ({"happy": 4, "sad": 2, "fear": 2, "angry": 2}, None),  # four emotions: the last three together
    ({"happy": 3, "sad": 3, "fear": 2, "angry": 2}, None),  # the third and fourth together
    ({"happy": 2, "sad": 2, "fear": 2, "angry": 2, "neutral": 2}, None),
    ({"unknown": 4, "happy": 3, "sad": 3}, None),  # unknown leads and ends the taking
    ({"happy": 6, "unknown": 4}, {"happy": 1}),
    ({"happy": 5, "unknown": 5}, None),  # taken: half of the votes, not more
    ({"happy": 4, "sad": 4, "unknown": 2}, {"happy": 0.5, "sad": 0.5}),
    ({"happy": 4, "sad": 2, "unknown": 2, "fear": 2}, {"happy": 0.5, "sad": 0.25, "fear": 0.25}),
    ({"happy": 4, "not_a_face": 4, "sad": 2}, None),
    ({"not_a_face": 10}, None),
    (
        dict.fromkeys(
            ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"], 1
        ),
        None,
    ),
]


@pytest.mark.parametrize(("votes", "shares"), PROBABILISTIC)
def test_probabilistic(votes, shares):
    targets, keep = ferplus.probabilistic(row(**votes))
    expected = [[(shares or {}).get(name, 0) for name in FERPLUS_EMOTIONS]]
    np.testing.assert_allclose(targets, expected, rtol=1e-6)
    assert keep.tolist() == [shares is not None]
    assert targets.dtype == np.float32 and keep.dtype == bool


@st.composite
def vote_tables(draw) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    concentration = draw(st.sampled_from([0.1, 0.4, 1.0]))
    return rng.multinomial(10, rng.dirichlet(np.full(10, concentration), 300)).astype(np.uint8)


@settings(max_examples=20, deadline=None)
@given(votes=vote_tables(), seed=st.integers(0, 100))
def test_targets_are_distributions_that_treat_emotions_alike(votes, seed):
    order = np.random.default_rng(seed).permutation(8)
    before = votes.copy()
    for rule in (ferplus.majority, ferplus.probabilistic):
        targets, keep = rule(votes)
        np.testing.assert_allclose(targets.sum(axis=1), keep, rtol=1e-6)
        assert (votes[:, :8][targets > 0] > 1).all()  # nobody is trained on an outlier
        turned = rule(votes[:, [*order, 8, 9]])
        np.testing.assert_array_equal(turned.targets, targets[:, order])
        np.testing.assert_array_equal(turned.keep, keep)
    np.testing.assert_array_equal(votes, before)
    hard, soft = ferplus.majority(votes), ferplus.probabilistic(votes)
    both = hard.keep & soft.keep
    np.testing.assert_array_equal(
        hard.targets[both].argmax(axis=1), soft.targets[both].argmax(axis=1)
    )


def test_expected_labels_are_the_posterior_of_votes_that_are_independent_given_the_label():
    """Bayes: P(c | v) is proportional to P(c) prod_k P(k | c)^v_k."""
    rng = np.random.default_rng(0)
    prior, chances = rng.dirichlet(np.full(7, 5.0)), rng.dirichlet(np.full(10, 1.0), size=7)
    labels = rng.choice(7, 20_000, p=prior)
    votes = np.stack([rng.multinomial(10, chances[label]) for label in labels]).astype(np.uint8)
    exact = softmax(np.log(prior) + votes @ np.log(chances).T, axis=1)
    expected = ferplus.expected_labels(votes, labels)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    assert np.abs(expected - exact).mean() < 0.01


def test_expected_labels_of_one_row_or_of_no_votes_are_finite():
    assert ferplus.expected_labels(row(happy=10), np.array([3])).argmax() == 3
    spread = ferplus.expected_labels(np.zeros((4, 10), np.uint8), np.array([0, 0, 0, 5]))
    # nothing but the classes' shares is known
    np.testing.assert_allclose(spread[:, [0, 5]], [[0.75, 0.25]] * 4, atol=0.01)


def test_the_real_votes(shared):
    """Row counts as the released code (ferplus.py, revision 888f98d) gives them when it is run on
    this file.
    """
    folder = shared / "data" / "fer2013"
    if not (folder / ferplus.FILE).is_file() or not (folder / "labels.csv").is_file():
        pytest.skip(f"no real votes: {folder} lacks {ferplus.FILE} or labels.csv")
    with (folder / "labels.csv").open(newline="") as stream:
        table = [(cells["Usage"], int(cells["emotion"])) for cells in csv.DictReader(stream)]
    splits = []
    for usage in PUBLISHED:
        emotions = np.array([label for split, label in table if split == usage], np.int32)
        splits.append(Split(np.zeros((len(emotions), 0, 0), np.uint8), emotions))
    data = bundle(*splits)
    votes = ferplus.read(folder / ferplus.FILE, data)
    assert [int(ferplus.majority(counts).keep.sum()) for counts in votes] == [25060, 3199, 3153]
    assert [int(ferplus.probabilistic(counts).keep.sum()) for counts in votes] == [
        27956,
        3505,
        3505,
    ]
    assert sum(int((counts[:, 9] > 5).sum()) for counts in votes) == 176
    test = ferplus.majority(votes.private_test).targets.sum(axis=0)
    assert test.astype(int).tolist() == [273, 18, 83, 893, 384, 396, 1090, 16]
