"""The shipped network: what vgg_distilled.py gave, trained on with 98 % of Training; the last epoch
is kept.

    mkdir -p runs/vgg_distilled && cp results/model/runs/vgg_distilled/model.pkl runs/vgg_distilled/
    python scripts/train.py --config experiments/vgg_again.py

For the first three fifths, at high rates, views are 32 pixels wide, which costs 0.64 of 40. Took
two cores of a server CPU the seconds that results/model/history.csv holds. The 574 rows that are
held out are too few to choose an epoch by.
"""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_again",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.3,
        "crop": 40,
    },
    init_from="runs/vgg_distilled/model.pkl",
    epochs=32,
    batch_size=128,
    holdout=0.02,
    resolutions=((0.0, 32), (0.6, 40)),
    label_smoothing=0.05,
    self_distillation=0.5,
    optimizer=Optimizer(learning_rate=0.08, warmup=0.1),
    augment=Augment(rotate=10.0, scale=0.15, shift=0.1, contrast=0.2, brightness=0.1, erase=0.25),
    early_stopping=EarlyStopping(monitor="last"),
)
