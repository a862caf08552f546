import base64
import re
from html.parser import HTMLParser

import pytest

from fer_jax.labels import EMOTIONS
from fer_jax.video import report_page
from fer_jax.video.gallery import Stretch, Turns

PNG, JPEG = b"\x89PNG picture", b"\xff\xd8 face"
NASTY = '<script>alert("1")</script>\'&amp;\n\x1b[2J.mp4'


def person(number, unsure=0.0):
    shares = {**dict.fromkeys(EMOTIONS, 0.0), "happy": 0.75, "sad": 0.25}
    return {
        "person": number,
        "first": 0.0,
        "last": 3725.5,
        "looks": 4,
        "seconds": 4.0,
        "share": shares,
        "share_sure": {**dict.fromkeys(EMOTIONS, 0.0), "happy": 0.5},
        "mean_probability": dict.fromkeys(EMOTIONS, 1 / 7),
        "longest_run": {"emotion": "happy", "start": 61.5, "seconds": 3.0},
        "changes_per_minute": None,
        "mean_valence": -0.1,
        "mean_confidence": 0.6,
        "share_unsure": unsure,
    }


def page(people=(), turns=None, title="talk.mp4", about="Model vgg."):
    head = {
        "start": 0.0,
        "seconds": 8.0,
        "looks": 8,
        "step": 1.0,
        "share_without_face": 0.5,
        "share_unsure": None,
    }
    pictures = {one["person"]: PNG for one in people if one["person"] < 9}
    return report_page.render(title, {**head, "people": list(people)}, pictures, turns or {}, about)


class Reader(HTMLParser):
    """Collects tags, attributes and text, and that every tag is closed in turn."""

    VOID = ("meta", "img", "br")

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def turns(emotion="happy", confidence=0.9, looks=3, count=1):
    return {1: Turns([Stretch(emotion, 61.5, looks, confidence, 95.0, JPEG)], count)}


def test_page_is_whole_and_loads_nothing():
    html = page([person(1), person(2)], turns())
    parsed = Reader(html)
    assert parsed.open == []
    assert not {"script", "link", "iframe", "object", "base", "a"} & set(parsed.tags)
    assert "url(" not in html and "@import" not in html
    assert not re.search(r"https?://", html)
    loading = ("src", "href", "srcset", "action", "data")
    sources = [value for _, name, value in parsed.attributes if name in loading]
    assert len(sources) == 3 and all(source.startswith("data:image/") for source in sources)
    assert base64.b64decode(sources[0].split(",")[1]) == PNG
    assert any("default-src 'none'" in (value or "") for _, _, value in parsed.attributes)
    assert not any(name.startswith("on") for _, name, _ in parsed.attributes)


@pytest.mark.parametrize("where", ["title", "about"])
def test_names_are_text_whatever_they_hold(where):
    html = page([person(1)], **{where: NASTY})
    parsed = Reader(html)
    assert "script" not in parsed.tags and "\x1b" not in html
    hidden = "\N{REPLACEMENT CHARACTER}"
    assert f'<script>alert("1")</script>\'&amp;{hidden}{hidden}[2J.mp4' in parsed.text


def test_every_page_carries_the_notice_and_what_the_numbers_mean():
    for html in (page(), page([person(1)])):
        text = Reader(html).text
        assert "EU AI Act, Art. 5(1)(f), forbids" in text and "hiring included" in text
        assert "not what the person feels" in text and "Model vgg." in text


def test_people_without_a_picture_are_counted():
    assert "No face was found" in Reader(page()).text
    assert "1 further person of fewer looks" in Reader(page([person(1), person(9)])).text
    html = page([person(9), person(10)])
    assert "2 further people of fewer looks" in Reader(html).text and "No face" not in html


def test_doubt_is_said():
    sure = Reader(page([person(1, 0.2)], turns(confidence=0.6))).text
    unsure = Reader(page([person(1, 0.9)], turns(confidence=0.4))).text
    assert "Mostly unsure" in unsure and "1:01.5 happy?" in unsure
    assert "Mostly unsure" not in sure and "1:01.5 happy" in sure and "happy?" not in sure


def test_a_thumbnail_says_when_the_emotion_began_and_when_the_picture_was_taken():
    assert "1:01.5 happy3 looks, pictured at 1:35: 90%" in Reader(page([person(1)], turns())).text


def test_turning_points_that_are_not_shown_are_counted():
    many = Reader(page([person(1)], turns(count=23))).text
    assert "Of 23, the 1 that lasted longest are shown" in many
    assert "lasted longest" not in Reader(page([person(1)], turns())).text


def test_bars_are_as_long_as_the_shares():
    html = page([person(1)])
    widths = re.findall(r'class="(sure|unsure)" style="width: ([\d.]+)%', html)
    assert widths == [("sure", "50.0"), ("unsure", "25.0"), ("unsure", "25.0")]  # happy, happy, sad


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (9.5, "0:09.5"),
        (59.96, "1:00"),
        (750.04, "12:30"),
        (3599.99, "1:00:00"),
        (3723.25, "1:02:03.2"),
    ],
)
def test_clock(seconds, shown):
    assert report_page._clock(seconds) == shown


def test_pictures_and_sections_are_in_the_order_given():
    html = page([person(3), person(1)])
    assert re.findall(r"<h2>Person (\d)", html) == ["3", "1"]
