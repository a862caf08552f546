"""Say once a period what each face in front of a camera, or in a recording, shows."""

import contextlib
import sys
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fer_jax import faces, files
from fer_jax.errors import InputError
from fer_jax.video import overlay, record
from fer_jax.video.capture import Source, Video
from fer_jax.video.times import time_of_day
from fer_jax.video.watch import Predictor, described, watch

CLIP = Path("results") / "preprocessing_test" / "input_video.mp4"
EPS = 8 / 255


def run(options: Namespace) -> None:
    """Print, keep and show what is seen until the stream or the user's patience ends.

    `options` are those of predict_live_stream.py, where they are described. An output that cannot
    be written, or a source, model or detector that cannot be read, is refused.
    """
    _check_outputs(options)
    # the camera and the network take a second each to start
    with ThreadPoolExecutor(1) as background:
        loading = background.submit(_load, options)
        with _open(options.source) as video:
            detector = faces.detector(options.detector, options.detector_model)
            predictor = loading.result()
            print("Reading video stream ...\n", flush=True)
            _show(video, predictor, detector, options)


def _check_outputs(options: Namespace) -> None:
    """Refuse what can be known to go wrong later, before anything is opened."""
    source = files.root() / CLIP if options.source is None else options.source
    for path in filter(None, (options.save, options.csv)):
        record.require_writable(path, source)
    if options.save:
        record.require_codec(options.save)
    if options.save and options.csv and options.save.resolve() == options.csv.resolve():
        raise InputError(f"{options.csv}: --save and --csv must be two files")
    if options.display:
        overlay.require_screen()


def _load(options: Namespace) -> Predictor:
    """Return the compiled predictor, which with a hack gives two predictions for each face."""
    from fer_jax import predict  # brings JAX: only here, beside the opening of the camera

    predictor = predict.Predictor(options.model)
    if options.hack is not None:
        from fer_jax.video import hacked  # brings the attacks and the data set

        eps, folder = options.eps or EPS, files.root() / "data"
        change = hacked.fit_perturbation(predictor, options.hack, eps, folder)
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


def _show(video: Video, predictor: Predictor, detector: faces.Detector, options: Namespace) -> None:
    emotions, live, numbered = predictor.emotions, video.live, options.all_faces
    with contextlib.ExitStack() as outputs:
        window = saved = table = None
        if options.display:
            window = outputs.enter_context(overlay.Window(video.name))
        if options.save:
            saved = outputs.enter_context(record.VideoFile(options.save, video.rate))
        if options.csv:
            hacked = options.hack is not None
            table = outputs.enter_context(record.Table(options.csv, emotions, hacked=hacked))
        looks = watch(
            video,
            predictor,
            detector,
            options.every,
            real_time=not options.fast,
            # looks a second apart have no average
            each_frame=bool(window or saved or options.smooth),
            smooth=options.smooth,
            min_confidence=options.min_confidence,
            max_seconds=options.max_seconds,
            idle=window.wait if window else None,
        )
        for event in looks:
            if event.due:
                lines = described(event, live=live, numbered=numbered)
                print(f"Preprocessing ...\n{lines}\n", flush=True)
                if table:
                    table.write(event)
            if not (window or saved):
                continue
            status = time_of_day(event.time, live=live)
            status += f"  {window.rate():.0f} frames/s" if window else ""
            shown = event.frame, event.predictions, emotions
            drawn = overlay.draw(*shown, numbered=numbered, status=status)
            if saved:
                saved.write(event.moment, drawn)
            if window and not window.show(drawn):
                break
