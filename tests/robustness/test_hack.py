import jax.numpy as jnp
import numpy as np
import pytest

from fer_jax.attacks import ATTACKS
from fer_jax.robustness import hack
from fer_jax.robustness.hack import Settings

SAD = 4
ROOM = ((0, 0), (SAD, 2))  # for the other classes, whose logits are 0


def test_a_smallest_change_is_grown_until_it_survives_the_rounding(monkeypatch):
    """A network says sad above a mean of 100.5 levels: an attack that stops at 100.4 is grown, not
    run again.
    """
    network = lambda x: jnp.pad(255 * x.mean(axis=(1, 2, 3))[:, None] - 100.5, ROOM)
    runs = []

    def attack(key, logits_fn, images, labels):
        runs.append(1)
        return jnp.full_like(images, 100.4 / 255)

    monkeypatch.setattr(hack, "make_attack", lambda settings, eps: attack)
    found = hack.smallest(
        Settings("ddn", "linf", 40), network, np.full((48, 48), 90, np.uint8), SAD
    )
    assert len(runs) == 1
    # 10.4 is rounded to 10, and grown by 5 % to 11
    assert found.worked and found.eps == pytest.approx(11 / 255)


def single_pixel(norm, needed):
    """The hack of a network that says sad where the first pixel is `needed` levels up, and the eps
    that were tried, by an attack that changes this pixel alone."""
    network = lambda x: jnp.pad(255 * x[:, 0, 0, 0][:, None] - needed + 0.5, ROOM)
    tried = []

    def attack_at(eps):
        tried.append(eps)
        return lambda key, logits_fn, images, labels: images.at[:, 0, 0, 0].add(eps)

    return hack.smallest(
        Settings("pgd", norm, 40), network, np.zeros((48, 48), np.uint8), SAD, attack_at
    ), tried


def test_every_level_of_linf_is_tried():
    found, tried = single_pixel("linf", 7)
    assert found.worked and found.eps == pytest.approx(7 / 255)
    np.testing.assert_allclose(255 * np.array(tried), range(1, 8))


def test_l2_is_searched_to_a_hundredth():
    found, tried = single_pixel("l2", 61)
    assert found.worked and 61 / 255 <= found.eps <= 61 / 255 + 0.01
    assert len(tried) == 3 + 4  # by tenths, then halves of a tenth
    assert not single_pixel("l2", 254 * 255)[0].worked


def test_an_eps_that_is_given_is_the_only_one():
    network = lambda x: jnp.zeros((len(x), 7))
    tried = []
    attack_at = lambda eps: tried.append(eps) or hack.adding(np.zeros((1, 48, 48, 1)))
    found = hack.smallest(
        Settings("pgd", "l2", 40, eps=0.3), network, np.zeros((48, 48), np.uint8), SAD, attack_at
    )
    assert (found.worked, found.eps, tried) == (False, 0.3, [0.3])


SETTINGS = {"norm": None, "steps": None, "eps": None, "restarts": 1, "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"method": "autoattack", "steps": 10}, 10),
        ({"method": "autoattack"}, 100),
        ({"method": "pgd"}, 40),
    ],
)
def test_the_steps_on_record_are_those_of_the_attack(arguments, steps):
    settings = hack.settings_for(**SETTINGS | arguments)
    assert settings.steps == hack.make_attack(settings, 0.1).keywords["steps"] == steps


def test_every_attack_with_targets_can_be_asked_for():
    for method in [name for name, entry in ATTACKS.items() if entry.has_targets]:
        settings = hack.settings_for(**SETTINGS | {"method": method})
        assert callable(hack.make_attack(settings, 0.1)) and settings.norm in hack.LEVELS
    assert set(hack.LARGEST) == set(hack.LEVELS)


def test_fgsm_makes_one_step():
    assert hack.settings_for(**SETTINGS | {"method": "fgsm"}).steps == 1
