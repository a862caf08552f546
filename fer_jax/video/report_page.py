"""The page of a recording's report: one HTML file that loads nothing, runs nothing and needs no
network.

html = render("interview.mp4", summary, pictures={1: png}, turns={1: ...}, model="Model vgg. ...")
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from fer_jax.plots import EMOTION_COLOURS

# a largest probability below: the network itself holds the name for more likely wrong than right
UNSURE = 0.5

# The policy is the browser's word that nothing is fetched and nothing runs, whatever a file's name
# may hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light; --line: #dcdcdc; --quiet: #595959; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 2rem 1.25rem 3rem; color: #1c1c1c; background: #fff;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .5rem 0; max-width: 75ch; }
.quiet { color: var(--quiet); }
.notice { max-width: none; margin: 1.25rem 0; padding: .75rem 1rem; border-left: 5px solid #d55e00; background: #fdf3ec; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(135px, 1fr)); gap: .75rem; margin: 1rem 0; }
.figures div { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }
.figures dt { color: var(--quiet); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
.wide img { display: block; width: 100%; min-width: 720px; height: auto; }
.strip { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0; padding: 0; list-style: none; }
.strip li { width: 132px; font-size: .85rem; line-height: 1.35; }
.strip img { display: block; width: 132px; height: 132px; object-fit: cover; border-radius: 4px; border-bottom: 6px solid; }
table { border-collapse: collapse; width: 100%; max-width: 640px; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem .2rem 0; text-align: left; font-weight: normal; }
td.number { text-align: right; width: 4.5rem; }
td.bar { width: 60%; white-space: nowrap; font-size: 0; }
td.bar span { display: inline-block; height: .8rem; }
td.bar .unsure { opacity: .35; }
@media print { body { padding: 0; max-width: none; } section { break-inside: avoid; } }
"""

_NOTICE = """\
<p class="notice" role="note"><strong>Use with care.</strong> The EU AI Act, Art. 5(1)(f), forbids AI systems that infer the
emotions of people at work and in education, hiring included, except for medical or safety reasons. Do not judge or select
anyone by this page. Show it only to those who agreed to be recorded and analysed.</p>
"""

_MOSTLY_UNSURE = """\
<p class="notice"><strong>Mostly unsure.</strong> In most looks at this person no emotion reached 50 %: the names below are
little better than guesses. Small, dark, blurred or turned faces are the usual reason.</p>
"""

_TURNS = (
    "When another emotion began, and the face at its surest look until the next one began. A single look of another emotion "
    "in between is taken for a slip and left out."
)

_MEANING = """\
<h2>What the numbers mean</h2>
<p>A <strong>probability</strong> is the network's estimate of how FER-2013's annotators would have named the expression
that a face <em>shows</em>; the probabilities of one look sum to 100 %. It is not what the person feels. People themselves
agree with FER-2013's names on about 65 % of its faces, and the network does worse on faces, light and cameras unlike those
of that collection, and differently well for different groups of people.</p>
<p><strong>Valence</strong> is the probability of pleasant emotions (happy) less that of unpleasant ones (angry, disgust,
fear, sad, and contempt where the network knows it): from &minus;1 to 1. Surprise and neutral count as neither. The
band is one standard deviation under the probabilities.</p>
<p><strong>Uncertainty</strong> is the entropy of the probabilities as a share of the largest possible: 0 % is one certain
emotion, 100 % an even guess. A look is <strong>unsure</strong> where the most likely emotion has less than 50 %; do not
read such looks one by one.</p>
<p>Shares and runs are counted in looks, {step:g} seconds apart: what lies between two looks was not seen, and a gap in the
recording's own times ends a run. A <strong>person</strong> is a face that was followed from look to look by its place and
size alone. Nobody was recognised: who leaves for more than a few seconds comes back under a new number.</p>
"""


def render(
    title: str,
    summary: Mapping[str, Any],
    pictures: Mapping[int, bytes],
    turns: Mapping[int, Any],
    model: str,
) -> str:
    """The page as text.

    Args:
        title: the recording's file name; anything may be in it.
        summary: as `report.summarise` gives it.
        pictures: PNG contents by person, in the order of the page; people without one are only
            counted.
        turns: by person, what `report.Turns` holds: stretches with a thumbnail each, and of how
            many they are.
        model: about the network, a sentence or two.
    """
    people = {person["person"]: person for person in summary["people"]}
    shown = [
        _person(people[number], picture, turns.get(number)) for number, picture in pictures.items()
    ]
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{_text(title)}: facial expressions</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n",
            f'<h1>{_text(title)}</h1>\n<p class="quiet">Facial expressions, as a neural network names them</p>\n',
            _NOTICE,
            _overview(summary),
            *shown,
            _others(len(people) - len(shown), bool(shown)),
            _MEANING.format(step=round(summary["step"], 2)),
            f"<h2>The network</h2>\n<p>{_text(model)}</p>\n</main>\n</body>\n</html>\n",
        ]
    )


def _overview(summary: Mapping[str, Any]) -> str:
    unsure = summary["share_unsure"]
    return _figures(
        {
            "length": _duration(summary["seconds"]),
            "looks": f"{summary['looks']:,}, every {summary['step']:.2g} s",
            "without a face": f"{summary['share_without_face']:.1%}",
            "people": f"{len(summary['people'])}",
            "unsure looks": "none" if unsure is None else f"{unsure:.0%}",
        }
    )


def _person(person: Mapping[str, Any], picture: bytes, turns: Any | None) -> str:
    number, run, changes = person["person"], person["longest_run"], person["changes_per_minute"]
    figures = {
        "seen for": _duration(person["seconds"]),
        "longest run": f"{run['emotion']}, {_duration(run['seconds'])}",
        "which began at": _clock(run["start"]),
        "changes per minute": "unknown" if changes is None else f"{changes:.1f}",
        "mean valence": f"{person['mean_valence']:+.2f}",
        "unsure looks": f"{person['share_unsure']:.0%}",
    }
    alt = f"Person {number}: probabilities, valence and uncertainty over time; the figures are in the table below"
    return (
        f'<section>\n<h2>Person {number}</h2>\n<p class="quiet">{_clock(person["first"])} to {_clock(person["last"])}</p>\n'
        + _figures(figures)
        + ("" if person["share_unsure"] <= 0.5 else _MOSTLY_UNSURE)
        + f'<div class="wide"><img alt="{alt}" src="{_data("png", picture)}"></div>\n'
        + (_strip(turns.stretches, turns.count) if turns else "")
        + _shares(person)
        + "</section>\n"
    )


def _strip(stretches: Sequence[Any], count: int) -> str:
    items = []
    for stretch in stretches:
        name = _text(stretch.emotion + "?" * (stretch.confidence < UNSURE))
        looks = "1 look" if stretch.looks == 1 else f"{stretch.looks} looks"
        items.append(
            f'<li><img alt="face, {name}" style="border-color: {EMOTION_COLOURS[stretch.emotion]}" '
            f'src="{_data("jpeg", stretch.thumbnail)}"><strong>{_clock(stretch.start)}</strong> {name}<br>'
            f'<span class="quiet">{looks}, pictured at {_clock(stretch.surest)}: {stretch.confidence:.0%}</span></li>\n'
        )
    cap = (
        f" Of {count:,}, the {len(stretches)} that lasted longest are shown."
        if count > len(stretches)
        else ""
    )
    return f'<h3>Turning points</h3>\n<p class="quiet">{_TURNS}{cap}</p>\n<ul class="strip">\n{"".join(items)}</ul>\n'


def _shares(person: Mapping[str, Any]) -> str:
    ranked = sorted(person["share"].items(), key=lambda item: -item[1])
    rows = [
        f'<tr><th scope="row">{_text(emotion)}</th><td class="number">{share:.0%}</td><td class="number">'
        f'{person["mean_probability"][emotion]:.0%}</td><td class="bar">'
        f"{_bar(emotion, person['share_sure'][emotion], share)}</td></tr>\n"
        for emotion, share in ranked
    ]
    head = '<tr class="quiet"><th scope="col">emotion</th><th scope="col">time</th><th scope="col">mean</th><td></td></tr>\n'
    return (
        "<h3>Share of the time for which each emotion was the most likely (pale: unsure), and its mean probability</h3>\n"
        f"<table>\n{head}{''.join(rows)}</table>\n"
    )


def _bar(emotion: str, sure: float, share: float) -> str:
    parts = (("sure", sure), ("unsure", share - sure))
    style = "background: " + EMOTION_COLOURS[emotion]
    return "".join(
        f'<span class="{name}" style="width: {100 * part:.1f}%; {style}"></span>'
        for name, part in parts
        if part > 0
    )


def _others(count: int, some_shown: bool) -> str:
    if not count:
        return "" if some_shown else "<p>No face was found in this recording.</p>\n"
    return (
        f'<p class="quiet">{count} further {"person" if count == 1 else "people"} of fewer looks: in the table and the '
        "summary, without a picture. Many are false alarms of the detector.</p>\n"
    )


def _figures(figures: Mapping[str, str]) -> str:
    items = "".join(
        f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>\n" for name, value in figures.items()
    )
    return f'<dl class="figures">\n{items}</dl>\n'


def _text(text: str) -> str:
    """Escaped for HTML; what does not print (line breaks and terminal commands in file names)
    becomes visible.
    """
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _clock(seconds: float) -> str:
    """h:mm:ss.s, without what is nought: 0:09.5, 12:30, 1:02:03."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    head = f"{minutes // 60}:{minutes % 60:02d}" if minutes >= 60 else f"{minutes}"
    return f"{head}:{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else _clock(seconds)
