"""The recipe of experiments/vgg.py on 98 % of Training; what is left cannot tell epochs apart, so
the last one is kept.

    python scripts/train.py --config experiments/vgg_last.py

Not trained yet. What speaks for it: on all of Training (vgg_kaggle.py) the same recipe has 0.705 of
PublicTest right in its last epoch, and networks that were trained on 90 % of it have 0.683 to 0.685
(results/model/metrics.json has one).
"""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_last",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.3,
        "crop": 40,
    },
    epochs=110,
    batch_size=128,
    holdout=0.02,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(rotate=10.0, scale=0.15, shift=0.1, contrast=0.2, brightness=0.1, erase=0.25),
    early_stopping=EarlyStopping(monitor="last"),
)
