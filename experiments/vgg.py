"""The deliverable: a small VGG from scratch under the train-only protocol.

    python scripts/train.py --config experiments/vgg.py

Two cores of a server CPU (AVX2, no accelerator), shared with other work: 20 epochs in 80 minutes (train_seconds in
results/model/run.json). What it reaches stands in results/model/metrics.json. The curves jump at epochs 14 and 18, where the
views grow towards the 48x48 of the evaluation.
"""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg",
    model={
        "family": "vgg",
        # Width where it is cheap: at full resolution time goes into moving memory, later into arithmetic.
        "stages": [[32, 32], [96, 96], [192, 192], [384, 384]],
        "dropout": 0.2,  # little: so short a run underfits, its training accuracy stays close to the hold-out's
    },
    epochs=20,
    batch_size=128,
    resolutions=((0.0, 32), (0.65, 40), (0.85, 48)),  # 32x32 costs 0.44 of 48x48
    optimizer=Optimizer(learning_rate=0.1),  # one-cycle; the falling half brings most of the accuracy
    augment=Augment(
        rotate=7.0, scale=0.1, shift=0.08, contrast=0.2, brightness=0.1, erase=0.1
    ),  # light, for the same reason
    early_stopping=EarlyStopping(patience=10),
)
