"""The protocol of most papers: all of Training, the epoch chosen on PublicTest, PrivateTest
reported.

    python scripts/train.py --config experiments/vgg_kaggle.py

The recipe of experiments/vgg.py with 100 epochs, from random weights. One H200 that three other
trainings shared: 100 epochs in 2 minutes. Accuracy 0.706 on PublicTest at epoch 83, 0.717 on
PrivateTest (results/kaggle).
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
    epochs=100,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.05,
    self_distillation=0.5,
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(rotate=10.0, scale=0.15, shift=0.1, contrast=0.2, brightness=0.1, erase=0.25),
    early_stopping=EarlyStopping(patience=20),
)
