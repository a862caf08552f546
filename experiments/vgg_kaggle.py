"""The protocol of most papers: all of Training, the epoch chosen on PublicTest, PrivateTest reported.

    python scripts/train.py --config experiments/vgg_kaggle.py

Starts from the shipped network, which has seen nine tenths of Training and neither test split. Not trained yet.
"""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_kaggle",
    protocol="kaggle",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.3,
        "crop": 40,
    },
    epochs=6,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,
    init_from="results/model/my_own_model.pkl",
    optimizer=Optimizer(learning_rate=0.03, warmup=0.1),  # a warm restart: high enough to move, low enough to keep
    augment=Augment(rotate=10.0, scale=0.15, shift=0.1, contrast=0.2, brightness=0.1, erase=0.25),
    early_stopping=EarlyStopping(min_delta=0.001, patience=10),
)
