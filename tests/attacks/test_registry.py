import jax
import numpy as np
import pytest

from fer_jax.attacks import ATTACKS, NORMS, step_size


@pytest.mark.parametrize(
    ("name", "norm"), [(name, norm) for name, entry in ATTACKS.items() for norm in entry.norms]
)
def test_every_attack_is_built_with_what_it_takes(linear, name, norm):
    entry, eps = ATTACKS[name], 0.05
    attack = entry.build(eps, norm, 2, targeted=entry.has_targets, queries=2, batch_size=4)
    hacked = attack(jax.random.key(0), linear.logits_fn, linear.images, (linear.labels + 1) % 7)
    assert hacked.shape == linear.images.shape
    if entry.bounded:
        assert (NORMS[norm].size(hacked - linear.images) <= eps + 1e-6).all()
    else:
        assert "eps" not in attack.keywords and "step_size" not in attack.keywords


def test_steps_and_their_length_are_passed_on_under_the_attacks_own_names():
    assert step_size(0.4, 20) == 0.05
    assert ATTACKS["pgd"].build(0.4, "l2", 20).keywords["step_size"] == 0.05
    assert ATTACKS["square"].build(0.4, "l2", 20).keywords["queries"] == 20
    assert ATTACKS["autoattack"].build(0.4, "l2", 20, queries=9).keywords == {
        "eps": 0.4,
        "norm": NORMS["l2"],
        "steps": 20,
        "queries": 9,
    }


def test_what_an_attack_is_not_made_for_is_refused():
    with pytest.raises(ValueError, match="must be one of linf, received l2"):
        ATTACKS["fgsm"].build(0.1, "l2", 1)
    with pytest.raises(ValueError, match="uniform cannot be targeted"):
        ATTACKS["noise"].build(0.1, "linf", 1, targeted=True)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_takes_colour_and_any_shape(make_linear, name):
    network, entry = make_linear(shape=(4, 6, 3), images=3), ATTACKS[name]
    attack = entry.build(0.05, entry.norms[0], 2, queries=2, batch_size=3)
    hacked = attack(jax.random.key(0), network.logits_fn, network.images, network.labels)
    assert hacked.shape == network.images.shape and np.isfinite(hacked).all()


def test_options_are_what_may_be_set_not_what_every_attack_is_given():
    for entry in ATTACKS.values():
        assert not entry.options & {"key", "logits_fn", "images", "labels"}
    assert {"eps", "step_size", "targeted"} <= ATTACKS["universal"].options
