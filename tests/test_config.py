import json
from pathlib import Path

import pytest

from fer_jax import config, models
from fer_jax.errors import InputError

EXPERIMENTS = sorted((Path(__file__).resolve().parents[1] / "experiments").glob("*.py"))


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(
        "from fer_jax.config import Config\n"
        "model = {'family': 'vgg', 'stages': [[4]], 'dropout': 0.1}\n"
        "config = Config(name='tiny', model=model, epochs=2)\n"
    )
    return path


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_round_trips_and_has_a_model(path):
    loaded = config.load(path)
    assert loaded.name == path.stem
    assert config.from_dict(json.loads(json.dumps(config.to_dict(loaded)))) == loaded
    models.create(loaded.model)


def test_overrides_reach_nested_values(experiment):
    loaded = config.load(
        experiment,
        ["epochs=7", "optimizer.learning_rate=1", "model.dropout=0.2", "protocol=kaggle"],
    )
    assert (loaded.epochs, loaded.protocol, loaded.model["dropout"]) == (7, "kaggle", 0.2)
    assert loaded.optimizer.learning_rate == 1.0
    assert config.load(experiment).epochs == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epoch=7", "unknown config key epoch"),
        ("optimizer.rate=7", "unknown config key optimizer.rate"),
        ("epochs.more=7", "epochs has no parts"),
        ("epochs", "key=value"),
        ("epochs=0", r"epochs must be in \[1, 10000\], received 0"),
        ("epochs=2.5", "epochs must be of type int, received 2.5"),
        ("epochs=True", "epochs must be of type int"),
        ("augment.erase=1.5", r"augment.erase must be in \[0, 1\]"),
        ("ema=nan", "ema must be of type float, received 'nan'"),
        ("ema=1e999", "ema must be in"),
        ("ema={[]:1}", r"ema must be of type float, received '\{\[\]:1\}'"),
        ("protocol=test", "protocol must be one of"),
        ("votes=1.5", r"votes must be in \[0, 1\], received 1.5"),
        (
            "teaching=0.5",
            "teaching must be above 0 where teachers are named, and only there, received 0.5",
        ),
        (
            "teachers=('a.pkl',)",
            "teaching must be above 0 where teachers are named, and only there, received 0.0",
        ),
        ("teachers='a.pkl'", "teachers must be of type tuple, received 'a.pkl'"),
        (
            "adversary.method=smoothadv",
            "adversary.norm must be l2 where method is smoothadv, received linf",
        ),
        ("augment=3", "augment must be Augment"),
        ("resolutions=((0.5,48),)", "resolutions must be"),
        ("resolutions=((0.0,480),)", "resolutions must be"),
        ("resolutions=()", "resolutions must be"),
    ],
)
def test_a_wrong_override_names_key_rule_and_value(experiment, override, words):
    with pytest.raises(InputError, match=words):
        config.load(experiment, [override])


def test_votes_are_no_part_of_targets_that_are_votes(experiment):
    with pytest.raises(InputError, match="votes must be 0 where protocol is ferplus-majority"):
        config.load(experiment, ["votes=0.5", "protocol=ferplus-majority"])


def test_noise_needs_a_sigma_that_something_is_seen_through(experiment):
    for sigma in ("0", "1.5"):
        with pytest.raises(
            InputError,
            match=rf"adversary.sigma must be above 0 and at most 1, received {float(sigma)}",
        ):
            config.load(experiment, ["adversary.method=noise", f"adversary.sigma={sigma}"])
    assert config.load(experiment, ["adversary.sigma=1.5"])  # of an adversary that is off


def test_an_override_may_name_a_field_of_the_model_that_the_file_leaves_out(experiment):
    assert "crop" not in config.load(experiment).model
    assert config.load(experiment, ["model.crop=40"]).model["crop"] == 40


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "defines no `config"),
        ("config = 5", "found int"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, source, words):
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(InputError, match=words) as caught:
        config.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such config file"):
        config.load(tmp_path / "none.py")


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_self_distillation_and_mixed_images_exclude_each_other(mixing):
    both = {"self_distillation": 0.5, "augment": {mixing: 0.2}}
    with pytest.raises(InputError, match=r"self_distillation must be 0 where augment\.mixup or"):
        config.from_dict({"name": "x", "model": {}, "epochs": 1, **both})
