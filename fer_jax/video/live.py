"""Say once a period what each face in front of a camera, or in a recording, shows.

live.run(live.Settings(source="interview.mp4", fast=True, csv=Path("faces.csv")))
"""

import contextlib
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_jax import faces, files
from fer_jax.errors import InputError
from fer_jax.video import overlay, record
from fer_jax.video.capture import Video
from fer_jax.video.opening import Source
from fer_jax.video.times import time_of_day
from fer_jax.video.watch import Predictor, described, watch

CLIP = Path("results") / "preprocessing_test" / "input_video.mp4"
EPS = 8 / 255


@dataclass(frozen=True)
class Settings:
    """What to look at, how, and what to keep; periods are in seconds."""

    source: Source | None = None  # None: the first camera, else the clip that comes with the code
    every: float = 1.0
    model: str | None = None  # None: the model that comes with the code
    detector: str = "auto"
    detector_model: Path | None = None
    fast: bool = False  # read a recording as fast as possible, not in real time
    display: bool = False  # show a window
    save: Path | None = None  # an annotated video
    csv: Path | None = None
    smooth: float = 0.0  # the time constant of the average over time
    min_confidence: float = 0.0
    all_faces: bool = False  # number the people even while there is only one
    max_seconds: float = math.inf
    hack: str | None = None  # an emotion that hacked faces are to show
    eps: float | None = None  # of the hack: the largest change of pixels in [0, 1]; None: `EPS`


def run(settings: Settings) -> None:
    """Print, keep and show what is seen until the stream or the user's patience ends.

    Raises:
        InputError: an output cannot be written, or the source, the model or the detector not read.
        OSError: an output could not be written.
    """
    _check_outputs(settings)
    # the camera and the network take a second each to start
    with ThreadPoolExecutor(1) as background:
        loading = background.submit(_load, settings)
        with _open(settings.source) as video:
            detector = faces.detector(settings.detector, settings.detector_model)
            predictor = loading.result()
            print("Reading video stream ...\n", flush=True)
            _show(video, predictor, detector, settings)


def _check_outputs(settings: Settings) -> None:
    """Refuse what can be known to go wrong later, before anything is opened."""
    source = files.root() / CLIP if settings.source is None else settings.source
    for path in filter(None, (settings.save, settings.csv)):
        record.require_writable(path, source)
    if settings.save:
        record.require_codec(settings.save)
    if settings.save and settings.csv and settings.save.resolve() == settings.csv.resolve():
        raise InputError(f"{settings.csv}: --save and --csv must be two files")
    if settings.display:
        overlay.require_screen()


def _load(settings: Settings) -> Predictor:
    """Return the compiled predictor, which with a hack gives two predictions for each face."""
    # brings JAX: only here, beside the opening of the camera
    from fer_jax import predict

    predictor = predict.Predictor(settings.model)
    if settings.hack is not None:
        from fer_jax.video import hacked  # brings the attacks and the data set

        eps, folder = settings.eps or EPS, files.root() / "data"
        change = hacked.fit_perturbation(predictor, settings.hack, eps, folder)
        predictor = hacked.Hacked(predictor, change)
    predictor(np.zeros((1, 48, 48), np.uint8))  # compiles
    return predictor


def _open(source: Source | None) -> Video:
    """Open the source that was asked for; without one the first camera, else the clip."""
    if source is not None:
        return Video(source)
    try:
        return Video(0)
    except InputError as error:
        reason = "no camera" if "there is no" in str(error) else str(error)
        clip = files.root() / CLIP
        print(f"{reason}: playing {clip}", file=sys.stderr)
        return Video(clip)


def _show(video: Video, predictor: Predictor, detector: faces.Detector, settings: Settings) -> None:
    emotions, live, numbered = predictor.emotions, video.live, settings.all_faces
    with contextlib.ExitStack() as outputs:
        window = saved = table = None
        if settings.display:
            window = outputs.enter_context(overlay.Window(video.name))
        if settings.save:
            saved = outputs.enter_context(record.VideoFile(settings.save, video.rate))
        if settings.csv:
            hacked = settings.hack is not None
            table = outputs.enter_context(record.Table(settings.csv, emotions, hacked=hacked))
        looks = watch(
            video,
            predictor,
            detector,
            settings.every,
            real_time=not settings.fast,
            # looks a second apart have no average
            each_frame=bool(window or saved or settings.smooth),
            smooth=settings.smooth,
            min_confidence=settings.min_confidence,
            max_seconds=settings.max_seconds,
            idle=window.wait if window else None,
        )
        for event in looks:
            if event.due:
                lines = described(event, live=live, numbered=numbered)
                print(f"Preprocessing ...\n{lines}\n", flush=True)
            if table and event.due:
                table.write(event)
            if not (window or saved):
                continue
            status = time_of_day(event.time, live=live)
            status += f"  {window.rate():.0f} frames/s" if window else ""
            seen = event.predictions
            drawn = overlay.draw(event.frame, seen, emotions, numbered=numbered, status=status)
            if saved:
                saved.write(event.moment, drawn)
            if window and not window.show(drawn):
                break
