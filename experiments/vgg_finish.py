"""The last part of the shipped network's training: what experiments/vgg_distilled.py left, on nearly all of Training.

    python scripts/train.py --config experiments/vgg_finish.py

Starts from runs/vgg_distilled/model.pkl. Its hold-out is a fifth of the earlier parts' and lies within it, so four fifths of
what they could not learn from is trained on here.
"""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_finish",
    model={"family": "vgg", "stages": [[32, 32], [96, 96], [256, 256], [512, 512]], "dropout": 0.3, "crop": 40},
    epochs=14,
    batch_size=128,
    holdout=0.02,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,
    init_from="runs/vgg_distilled/model.pkl",
    optimizer=Optimizer(learning_rate=0.04, warmup=0.1),
    augment=Augment(rotate=10.0, scale=0.15, shift=0.1, contrast=0.2, brightness=0.1, erase=0.25),
    early_stopping=EarlyStopping(monitor="last"),  # 574 rows cannot tell epochs apart
)
