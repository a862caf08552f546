"""A warm restart of what experiments/vgg.py trained, on labels with less noise.

    python scripts/train.py --config experiments/vgg.py
    python scripts/train.py --config experiments/vgg_finish.py

The first part ended with 0.83 of the training rows right against 0.69 of its hold-out: it had begun to learn single
annotators' mistakes. Here three fifths of each target are what the votes of FER+'s ten annotators on the same picture let
expect of FER-2013's label (`fer_jax.data.ferplus.expected_labels`). It needs fer2013new.csv (github.com/microsoft/FERPlus)
beside the FER-2013 data; what is selected and reported on keeps FER-2013's own labels. Half of the first part's hold-out
is trained on, too; the other half selects, by its loss: accuracy on so few rows is too coarse. Not trained to its end
yet: there are no figures.
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
    epochs=14,
    batch_size=128,
    holdout=0.05,
    resolutions=((0.0, 40),),
    label_smoothing=0.0,  # the votes soften the targets
    votes=0.6,
    self_distillation=0.5,
    init_from="runs/vgg/model.pkl",
    optimizer=Optimizer(learning_rate=0.05, warmup=0.1),
    augment=Augment(rotate=10.0, scale=0.12, shift=0.08, contrast=0.2, brightness=0.1, erase=0.2),
    early_stopping=EarlyStopping(monitor="loss", patience=10),
)
