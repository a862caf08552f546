"""Turn recordings into reports: a table of every face, pictures of people, a summary, a page.

The table is written row by row, and the rest is made from it row by row: memory grows with the
number of people, by a few kilobytes each, not with the length of the recording.
"""

import itertools
import json
import math
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from fer_jax import faces, files, plots, predict
from fer_jax.errors import InputError, printable
from fer_jax.faces import pictures
from fer_jax.labels import FERPLUS_EMOTIONS
from fer_jax.video import report_page
from fer_jax.video.capture import Video
from fer_jax.video.gallery import MAX_PEOPLE, Gallery, Turns
from fer_jax.video.record import Table
from fer_jax.video.summary import Spacing, describe, measure_spacing, read_rows, summarise
from fer_jax.video.watch import Event, Predictor, watch

_MIN_LOOKS = 3  # a face seen in fewer is mostly a false alarm: in the table, but not pictured
# endings of a report's files, beside the pictures
_ENDS = ("_faces.csv", "_summary.json", "_summary.txt", ".html")
_BINS = 1200  # of a timeline: more than its pixels would only cost time and memory


class Reader(NamedTuple):
    """What reads a recording."""

    predictor: Predictor
    detector: faces.Detector
    every: float  # seconds from look to look
    about: str  # for the page: which network it is and how accurate, in a sentence or two


def analyse_all(options: Namespace) -> int:
    """Write a report of each recording, by the options of analyse_video.py; return the exit code.

    Failures do not stop the rest: they are printed in the end.
    """
    paths, folder = options.files, options.out
    files.require_folder(folder)
    detector = faces.detector(options.detector, options.detector_model)
    predictor = predict.Predictor(options.model)
    unknown = set(predictor.emotions) - set(FERPLUS_EMOTIONS)
    if unknown:
        raise InputError(f"the network must name emotions, it names {', '.join(sorted(unknown))}")
    about = describe_model(predictor.model.metadata)
    reader = Reader(predictor, detector, options.every, about)
    failures = []
    for path, name in zip(paths, names(paths, folder), strict=True):
        try:
            summary = analyse(path, folder, name, reader)
        except InputError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"{error.filename or path}: {error.strerror or error}")
        except (ValueError, pictures.opencv().error) as error:
            # of a file that OpenCV opens but cannot digest
            failures.append(f"{path}: cannot be analysed: {' '.join(str(error).split())[:200]}")
        else:
            page = printable(str(folder / name))
            print(f"{printable(str(path))}: {describe(summary)}  {page}.html")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


def analyse(source: Path, folder: Path, name: str, reader: Reader) -> dict[str, Any]:
    """Read a recording once, write its report to `folder` and return the summary.

    It writes NAME_faces.csv (`record.Table`), NAME_personN.png, NAME_summary.json, NAME_summary.txt
    and NAME.html: all of them or, on an error, none. Pictures of people of an earlier report of the
    same recording are removed. Without a frame that can be read there is an InputError.
    """
    emotions = reader.predictor.emotions
    pictured = re.compile(re.escape(name) + r"_person\d+\.png")
    own = folder.iterdir() if _is_of(folder, name, source) else ()
    earlier = [path for path in own if pictured.fullmatch(path.name)]
    with files.appearing_in(folder, earlier) as work:
        table = work / f"{name}_faces.csv"
        with Video(source) as video:
            looks = watch(video, reader.predictor, reader.detector, reader.every, real_time=False)
            turns = record(looks, emotions, table, video.duration)
            duration, frame = video.duration, 1 / video.rate
        if next(read_rows(table), None) is None:
            raise InputError(f"{source}: must be a video, but not one of its frames can be decoded")
        spacing = measure_spacing(table, reader.every, frame)
        figures = summarise(table, emotions, spacing, duration)
        summary = {"video": str(source.resolve()), **figures}
        files.write_json(work / f"{name}_summary.json", summary)
        (work / f"{name}_summary.txt").write_text(describe(summary))
        images = _draw_people(table, summary, emotions, spacing, work / name)
        html = report_page.render(source.name, summary, images, turns, reader.about)
        # a file name may be no Unicode
        (work / f"{name}.html").write_text(html, encoding="utf-8", errors="replace")
    return summary


def record(
    looks: Iterable[Event], emotions: Sequence[str], path: Path, seconds: float | None = None
) -> dict[int, Turns]:
    """Write a row for each face of each look to `path`; return the turns of those most seen."""
    gallery, name = Gallery(), printable(path.stem)
    bar = tqdm(desc=name, total=seconds, unit="s", unit_scale=True, leave=False, disable=None)
    with bar, Table(path, emotions, valence=True) as table:
        for event in looks:
            bar.update(event.time - bar.n)
            table.write(event)
            gallery.see(event)
    return gallery.turns()


def names(paths: Sequence[Path], folder: Path) -> list[str]:
    """Return a name for the report of each recording: its stem, with a number if that is taken.

    It is taken by another of the recordings, or by files in `folder`, unless they are the report of
    this very recording: so a report is replaced by its own video's next one only.
    """
    chosen: list[str] = []
    for path in paths:
        taken = {name.casefold() for name in chosen}
        numbered = (f"{path.stem}-{number}" for number in itertools.count(2))
        for name in itertools.chain([path.stem], numbered):
            used = any((folder / f"{name}{end}").exists() for end in _ENDS)
            if name.casefold() not in taken and (not used or _is_of(folder, name, path)):
                chosen.append(name)
                break
    return chosen


def describe_model(metadata: Mapping[str, Any]) -> str:
    """Return what a model file states of itself: name and hold-out accuracy, if they are there."""
    best, name, protocol = (metadata.get(key) for key in ("best", "name", "protocol"))
    accuracy = best.get("holdout_accuracy") if isinstance(best, Mapping) else None
    stated = f"Model {name}" if isinstance(name, str) and name else "A model without a name"
    if isinstance(protocol, str) and protocol:
        stated += f", protocol {protocol}"
    if not isinstance(accuracy, float) or not 0 <= accuracy <= 1:
        return f"{stated}. Its file states no measured accuracy: treat its output as unproven."
    held_out = "the FER-2013 faces held out of its training"
    return f"{stated}. It names {accuracy:.1%} of {held_out} as their annotators did."


def _is_of(folder: Path, name: str, video: Path) -> bool:
    """Whether a report of that name lies in `folder`, and is of this very video."""
    try:
        summary = json.loads((folder / f"{name}_summary.json").read_text())
        return summary["video"] == str(video.resolve())
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, or not ours


def _draw_people(
    table: Path, summary: Mapping[str, Any], emotions: Sequence[str], spacing: Spacing, stem: Path
) -> dict[int, bytes]:
    """Write STEM_personN.png of those seen often enough; return the contents, most seen first."""
    span = spacing.start, spacing.start + summary["seconds"]
    enough, most_seen = min(_MIN_LOOKS, spacing.looks), summary["people"][:MAX_PEOPLE]
    people = [person["person"] for person in most_seen if person["looks"] >= enough]
    bin_width = summary["seconds"] / _BINS
    binned = bin_width > spacing.longest  # so a bin without a look is in a gap
    # without bins, so wide that the timeline takes for a gap what is one here
    width = bin_width if binned else max(spacing.step, spacing.longest / 1.5)
    curves = _curves(table, people, spacing.start, bin_width if binned else 0)
    images = {}
    for number, (moments, means) in curves.items():
        figure = plots.emotion_timeline(moments, means, emotions, width, span)
        path = stem.with_name(f"{stem.name}_person{number}.png")
        figure.savefig(path)
        images[number] = path.read_bytes()
    return images


def _curves(
    table: Path, people: Sequence[int], start: float, width: float
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Return times [N] and probabilities [N, C] by person, in the order given.

    With a `width` above 0 they are the beginnings and means of bins, `width` seconds wide from
    `start` on; those without a look are left out.
    """
    # of probabilities, and their number
    sums: dict[int, dict[float, np.ndarray]] = {person: {} for person in people}
    for row in read_rows(table):
        if row.person in sums:
            moment = start + math.floor((row.time - start) / width) * width if width else row.time
            bins = sums[row.person]
            bins[moment] = bins.get(moment, 0) + np.append(row.probabilities, 1)
    curves = {}
    for person, bins in sums.items():
        stacked = np.stack(list(bins.values()))
        curves[person] = np.array(list(bins)), stacked[:, :-1] / stacked[:, -1:]
    return curves
