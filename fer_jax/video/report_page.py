"""The page of a recording's report: one HTML file that loads nothing and runs nothing.

html = render("interview.mp4", summary, images={1: png}, turns={1: ...}, about="Model vgg. ...")
"""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from fer_jax.plots import EMOTION_COLOURS
from fer_jax.video.gallery import Turns
from fer_jax.video.summary import UNSURE

_MOSTLY_UNSURE = """\
<p class="notice"><strong>Mostly unsure.</strong> In most looks at this person no emotion reached
50 %: the names below are little better than guesses. Small, dark, blurred or turned faces are the
usual reason.</p>
"""
_TURNS = """\
When another emotion began, and the face at its surest look until the next one began. A single look
of another emotion in between is taken for a slip and left out."""
_SHARES = """\
<h3>Share of the time for which each emotion was the most likely (pale: unsure), and its mean
probability</h3>
<table>
<tr class="quiet"><th scope="col">emotion</th><th scope="col">time</th><th scope="col">mean</th>
<td></td></tr>
"""


def render(
    title: str,
    summary: Mapping[str, Any],
    images: Mapping[int, bytes],
    turns: Mapping[int, Turns],
    about: str,
) -> str:
    """Return the page as text: `page.html`, filled in.

    Args:
        title: the recording's file name; anything may be in it.
        summary: as `summary.summarise` gives it.
        images: PNG contents by person, in the order of the page; others are only counted.
        turns: by person.
        about: the network, in a sentence or two.
    """
    people = {person["person"]: person for person in summary["people"]}
    shown = [_person(people[number], png, turns.get(number)) for number, png in images.items()]
    unsure = summary["share_unsure"]
    overview = {
        "length": _duration(summary["seconds"]),
        "looks": f"{summary['looks']:,}, every {summary['step']:.2g} s",
        "without a face": f"{summary['share_without_face']:.1%}",
        "people": f"{len(people)}",
        "unsure looks": "none" if unsure is None else f"{unsure:.0%}",
    }
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=_text(title),
        overview=_figures(overview),
        people="".join(shown) + _others(len(people) - len(shown), bool(shown)),
        step=f"{round(summary['step'], 2):g}",
        about=_text(about),
    )


def _person(person: Mapping[str, Any], picture: bytes, turns: Turns | None) -> str:
    number, run, changes = person["person"], person["longest_run"], person["changes_per_minute"]
    figures = {
        "seen for": _duration(person["seconds"]),
        "longest run": f"{run['emotion']}, {_duration(run['seconds'])}",
        "which began at": _clock(run["start"]),
        "changes per minute": "unknown" if changes is None else f"{changes:.1f}",
        "mean valence": f"{person['mean_valence']:+.2f}",
        "unsure looks": f"{person['share_unsure']:.0%}",
    }
    when = f"{_clock(person['first'])} to {_clock(person['last'])}"
    drawn = "probabilities, valence and uncertainty over time; the figures are in the table below"
    image = f'<img alt="Person {number}: {drawn}" src="{_data("png", picture)}">'
    head = f'<section>\n<h2>Person {number}</h2>\n<p class="quiet">{when}</p>\n{_figures(figures)}'
    head += _MOSTLY_UNSURE if person["share_unsure"] > 0.5 else ""
    strip = _strip(turns) if turns else ""
    return f'{head}<div class="wide">{image}</div>\n{strip}{_shares(person)}</section>\n'


def _strip(turns: Turns) -> str:
    items = ""
    for stretch in turns.stretches:
        name = _text(stretch.emotion + "?" * (stretch.confidence < UNSURE))
        looks = "1 look" if stretch.looks == 1 else f"{stretch.looks} looks"
        colour, jpeg = EMOTION_COLOURS[stretch.emotion], _data("jpeg", stretch.thumbnail)
        pictured = f"pictured at {_clock(stretch.surest)}: {stretch.confidence:.0%}"
        items += f'<li><img alt="face, {name}" style="border-color: {colour}" src="{jpeg}">'
        items += f"<strong>{_clock(stretch.start)}</strong> {name}<br>"
        items += f'<span class="quiet">{looks}, {pictured}</span></li>\n'
    text, shown = _TURNS, len(turns.stretches)
    if turns.count > shown:
        text += f" Of {turns.count:,}, the {shown} that lasted longest are shown."
    head = f'<h3>Turning points</h3>\n<p class="quiet">{text}</p>\n'
    return f'{head}<ul class="strip">\n{items}</ul>\n'


def _shares(person: Mapping[str, Any]) -> str:
    rows = ""
    for emotion, share in sorted(person["share"].items(), key=lambda item: -item[1]):
        mean, sure = person["mean_probability"][emotion], person["share_sure"][emotion]
        rows += f'<tr><th scope="row">{_text(emotion)}</th><td class="number">{share:.0%}</td>'
        rows += f'<td class="number">{mean:.0%}</td><td class="bar">'
        for name, part in (("sure", sure), ("unsure", share - sure)):
            if part > 0:
                style = f"width: {100 * part:.1f}%; background: {EMOTION_COLOURS[emotion]}"
                rows += f'<span class="{name}" style="{style}"></span>'
        rows += "</td></tr>\n"
    return f"{_SHARES}{rows}</table>\n"


def _others(count: int, some_shown: bool) -> str:
    if not count:
        return "" if some_shown else "<p>No face was found in this recording.</p>\n"
    people = f"{count} further {'person' if count == 1 else 'people'} of fewer looks"
    where = "in the table and the summary, without a picture"
    return f'<p class="quiet">{people}: {where}. Many are false alarms of the detector.</p>\n'


def _figures(figures: Mapping[str, str]) -> str:
    items = "".join(
        f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>\n" for name, value in figures.items()
    )
    return f'<dl class="figures">\n{items}</dl>\n'


def _text(text: str) -> str:
    """Return text escaped for HTML; what does not print (file names hold it) becomes visible."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _clock(seconds: float) -> str:
    """Return h:mm:ss.s, without what is nought: 0:09.5, 12:30, 1:02:03."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    head = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{head}:{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else _clock(seconds)
