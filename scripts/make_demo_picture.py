"""Draw results/demo.png, the README's picture: moments of the shipped clip, the faces cut from
them, the probabilities.
"""

import argparse
import sys
from pathlib import Path

from fer_jax import cli, faces, files, runtime
from fer_jax.video.capture import Video
from fer_jax.video.times import time_of_day
from fer_jax.video.watch import named, watch

RESULTS = Path(__file__).resolve().parents[1] / "results"
EPILOG = "example:\n  python scripts/make_demo_picture.py"
EVERY = 5.0  # seconds of the clip between two moments


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=formatter
    ).parse_args()
    runtime.configure()
    from fer_jax import plots
    from fer_jax.labels import EMOTIONS
    from fer_jax.predict import Predictor

    predictor, detector, moments = Predictor(), faces.HaarDetector(), []
    with Video(RESULTS / "preprocessing_test" / "input_video.mp4") as video:
        for event in watch(video, predictor, detector, EVERY, real_time=False):
            for seen in event.predictions[:1]:  # the largest face
                title = f"{time_of_day(event.time, live=False)}s : {named(seen)}"
                face, picture = faces.crop(event.frame, seen.box), event.frame[..., ::-1]
                moments.append(plots.Moment(title, picture, seen.box[:4], face, seen.probabilities))
    with files.replacing(RESULTS / "demo.png") as temporary:
        plots.predictions(moments, EMOTIONS).savefig(temporary)
    print(RESULTS / "demo.png")


if __name__ == "__main__":
    sys.exit(cli.run(main))
