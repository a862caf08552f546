"""FER+: eight classes, learned from ten annotators' votes, the protocol of Barsoum et al. (ICMI
2016).

    python scripts/train.py --config experiments/vgg_ferplus.py

Needs fer2013new.csv (github.com/microsoft/FERPlus) beside the FER-2013 data. One H200 that eight
other trainings shared: 93 epochs in 5 minutes, when its time was over. Epoch 88 is shipped
(results/ferplus): accuracy 0.887 on PublicTest, which chose it, and 0.880 on PrivateTest.
"""

from fer_jax.config import Augment, Config, EarlyStopping, Optimizer

config = Config(
    name="vgg_ferplus",
    # trained on distributions of votes; selected and reported on majorities
    protocol="ferplus-probability",
    model={
        "family": "vgg",
        "stages": [[32, 32], [96, 96], [256, 256], [512, 512]],
        "dropout": 0.3,
        "crop": 40,
        "classes": 8,
    },
    epochs=100,
    batch_size=128,
    resolutions=((0.0, 40),),
    label_smoothing=0.0,  # the votes are soft enough
    optimizer=Optimizer(learning_rate=0.1, warmup=0.2),
    augment=Augment(
        rotate=10.0, scale=0.15, shift=0.1, contrast=0.2, brightness=0.1, erase=0.25, mixup=0.2
    ),
    early_stopping=EarlyStopping(patience=20),
)
