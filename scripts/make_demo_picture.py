"""Draw results/demo.png, the README's picture: moments of the clip, their faces, probabilities."""

import sys

from fer_jax import cli, faces, files
from fer_jax.video.capture import Video
from fer_jax.video.times import time_of_day
from fer_jax.video.watch import named, watch

EPILOG = "example:\n  python scripts/make_demo_picture.py"
EVERY = 5.0  # seconds of the clip between two moments


def main() -> None:
    cli.parser(__doc__, EPILOG).parse_args()
    from fer_jax import plots
    from fer_jax.predict import Predictor

    predictor, detector, moments = Predictor(), faces.HaarDetector(), []
    results = files.root() / "results"
    with Video(results / "preprocessing_test" / "input_video.mp4") as video:
        for event in watch(video, predictor, detector, EVERY, real_time=False):
            for seen in event.predictions[:1]:  # the largest face
                title = f"{time_of_day(event.time, live=False)}s : {named(seen)}"
                face, picture = faces.crop(event.frame, seen.box), event.frame[..., ::-1]
                moments.append(plots.Moment(title, picture, seen.box[:4], face, seen.probabilities))
    plots.save(plots.predictions(moments, predictor.emotions), results / "demo.png")
    print(results / "demo.png")


if __name__ == "__main__":
    sys.exit(cli.run(main))
