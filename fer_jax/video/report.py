"""Turn a recording into a report: a table of every face, pictures of people, a summary, a page.

reader = Reader(Predictor(), faces.detector(), every=1.0, about="Model vgg.")
summary = analyse("interview.mp4", Path("reports"), "interview", reader)

Frames are read one at a time, the table is written row by row, and the rest is made from it row by
row: memory grows with the number of people, by a few kilobytes each, not with the length of the
recording.
"""

import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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

# a face seen in fewer looks is mostly a false alarm: it is in the table, but gets no picture
MIN_LOOKS = 3
# endings of a report's files, beside the pictures
_ENDS = ("_faces.csv", "_summary.json", "_summary.txt", ".html")
_BINS = 1200  # of a timeline: more than its pixels would only cost time and memory

Advance = Callable[[float], object]  # called with the seconds of video that each look brings


class Reader(NamedTuple):
    """What reads a recording."""

    predictor: Predictor
    detector: faces.Detector
    every: float  # seconds from look to look
    about: str  # for the page: which network it is and how accurate, in a sentence or two


def analyse_all(
    paths: Sequence[Path],
    folder: Path,
    detector: faces.Detector,
    every: float = 1.0,
    model: str | None = None,
) -> int:
    """Write a report of each recording, whatever becomes of the others; return the exit code.

    Summaries go to the standard output, and failures, at the end, to the error output.

    Args:
        folder: where the reports go.
        every: seconds from look to look.
        model: a model file; None: the one that comes with the code.
    """
    predictor = predict.Predictor(model)
    unknown = set(predictor.emotions) - set(FERPLUS_EMOTIONS)
    if unknown:
        raise InputError(f"the network must name emotions, it names {', '.join(sorted(unknown))}")
    reader = Reader(predictor, detector, every, describe_model(predictor.model.metadata))
    lengths = [_length(path) for path in paths]
    failures = []
    hidden = not sys.stderr.isatty()
    with tqdm(total=sum(lengths) or None, unit="s", unit_scale=True, disable=hidden) as bar:
        for number, (path, name) in enumerate(zip(paths, names(paths, folder), strict=True), 1):
            bar.set_description(f"{number}/{len(paths)} {printable(name)}")
            try:
                summary = analyse(path, folder, name, reader, bar.update)
            except InputError as error:
                failures.append(error)
            except OSError as error:
                failures.append(InputError(f"{error.filename or path}: {error.strerror or error}"))
            except (ValueError, pictures.opencv().error) as error:
                # of a file that OpenCV opens but cannot digest
                reason = " ".join(str(error).split())[:200]
                failures.append(InputError(f"{path}: cannot be analysed: {reason}"))
            else:
                page = printable(str(folder / name))
                tqdm.write(f"{printable(str(path))}: {describe(summary)}  {page}.html")
            # a file without a stated length, or one that failed half-way
            bar.n = sum(lengths[:number])
            bar.refresh()
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


def analyse(
    source: str | Path,
    folder: Path,
    name: str,
    reader: Reader,
    advance: Advance = lambda seconds: None,
) -> dict[str, Any]:
    """Read a recording once, write its report to `folder` and return the summary.

    It writes NAME_faces.csv (`record.Table`), NAME_personN.png, NAME_summary.json, NAME_summary.txt
    and NAME.html: all of them or, on an error, none. Pictures of people of an earlier report of the
    same recording are removed.

    Raises:
        InputError: the recording cannot be read, or not one frame of it.
        OSError: the report cannot be written.
    """
    emotions = reader.predictor.emotions
    with files.appearing_in(folder, _earlier(folder, name, Path(source))) as work:
        table = work / f"{name}_faces.csv"
        with Video(source) as video:
            looks = watch(video, reader.predictor, reader.detector, reader.every, real_time=False)
            turns = record(looks, emotions, table, advance)
            duration, frame = video.duration, 1 / video.rate
        if next(read_rows(table), None) is None:
            raise InputError(f"{source}: must be a video, but not one of its frames can be decoded")
        spacing = measure_spacing(table, reader.every, frame)
        figures = summarise(table, emotions, spacing, duration)
        summary = {"video": str(Path(source).resolve()), **figures}
        files.write_json(work / f"{name}_summary.json", summary)
        (work / f"{name}_summary.txt").write_text(describe(summary))
        images = _draw_people(table, summary, emotions, spacing, work / name)
        html = report_page.render(Path(source).name, summary, images, turns, reader.about)
        # a file name may be no Unicode
        (work / f"{name}.html").write_text(html, encoding="utf-8", errors="replace")
    return summary


def record(
    looks: Iterable[Event],
    emotions: Sequence[str],
    path: Path,
    advance: Advance = lambda seconds: None,
) -> dict[int, Turns]:
    """Write a row for each face of each look to `path`; return the turns of those most seen."""
    gallery = Gallery()
    last = 0.0
    with Table(path, emotions, valence=True) as table:
        for event in looks:
            advance(event.time - last)
            last = event.time
            table.write(event)
            gallery.see(event)
    return gallery.turns()


def names(paths: Sequence[Path], folder: Path) -> list[str]:
    """Return a name for the report of each recording: its stem, with a number if that is taken.

    It is taken by another of the recordings, or by files in `folder`, unless they are the report of
    this very recording: so a report is replaced by its own video's next one only.
    """
    taken: set[str] = set()
    chosen = []
    for path in paths:
        name = path.stem
        for number in itertools.count(2):
            if name.casefold() not in taken and _is_free(folder, name, path):
                break
            name = f"{path.stem}-{number}"
        taken.add(name.casefold())
        chosen.append(name)
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


def _length(path: Path) -> float:
    """Return the seconds of a video; 0 where the file does not say, or cannot be read."""
    try:
        with Video(path) as video:
            return video.duration or 0.0
    except InputError:
        return 0.0


def _is_free(folder: Path, name: str, video: Path) -> bool:
    """Whether no file of that name's report lies in `folder`, or the report of this very video."""
    used = any((folder / f"{name}{end}").exists() for end in _ENDS)
    return not used or _is_of(folder, name, video)


def _is_of(folder: Path, name: str, video: Path) -> bool:
    """Whether a report of that name lies in `folder`, and is of this very video."""
    try:
        summary = json.loads((folder / f"{name}_summary.json").read_text())
        return summary["video"] == str(video.resolve())
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, or not ours


def _earlier(folder: Path, name: str, video: Path) -> list[Path]:
    """Return the pictures of an earlier report of the same recording."""
    if not _is_of(folder, name, video):
        return []
    pattern = re.compile(re.escape(name) + r"_person\d+\.png")
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name)]


def _draw_people(
    table: Path, summary: Mapping[str, Any], emotions: Sequence[str], spacing: Spacing, stem: Path
) -> dict[int, bytes]:
    """Write STEM_personN.png of each person who is seen often enough.

    Returns their contents by person, most seen first.
    """
    span = spacing.start, spacing.start + summary["seconds"]
    enough = min(MIN_LOOKS, spacing.looks)
    most_seen = summary["people"][:MAX_PEOPLE]
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

    With a `width` above 0 they are the means of bins, `width` seconds wide from `start` on; those
    without a look are left out, the others' times are their beginnings.
    """
    # of probabilities, and their number
    sums: dict[int, dict[float, np.ndarray]] = {person: {} for person in people}
    for row in read_rows(table):
        if row.person in sums:
            moment = start + math.floor((row.time - start) / width) * width if width else row.time
            bins, look = sums[row.person], np.append(row.probabilities, 1)
            bins[moment] = bins[moment] + look if moment in bins else look
    curves = {}
    for person, bins in sums.items():
        stacked = np.stack(list(bins.values()))
        curves[person] = np.array(list(bins)), stacked[:, :-1] / stacked[:, -1:]
    return curves
