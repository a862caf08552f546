"""A warm restart of what experiments/vgg.py trained, against its overfitting.

    python scripts/train.py --config experiments/vgg.py
    python scripts/train.py --config experiments/vgg_finish.py

Sharpness-aware, for the first part ended with 0.83 of the training rows right against 0.69 of the same hold-out. Some such
epochs at the end do nearly as much as a whole training (Zhou et al., "Sharpness-Aware Minimization Efficiently Selects
Flatter Minima Late in Training", ICLR 2025). Not trained to its end yet: there are no figures.
"""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_finish",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.3,
        "crop": 40,
    },
    epochs=12,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,
    init_from="runs/vgg/model.pkl",
    optimizer=Optimizer(learning_rate=0.05, warmup=0.1, sam=0.1),
    augment=Augment(rotate=10.0, scale=0.15, shift=0.1, contrast=0.2, brightness=0.1, erase=0.25),
    early_stopping=EarlyStopping(min_delta=0.001, patience=10),
)
