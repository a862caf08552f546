from argparse import Namespace

import pandas as pd

from fer_jax.attacks import NORMS
from fer_jax.robustness import bench


def test_what_a_small_eps_breaks_stays_broken():
    found = pd.DataFrame(
        {"eps": 3 * [0.2] + 3 * [0.1], "row": [7, 5, 6, 5, 6, 7], "broken": [2, 1, -1, 0, -1, 2]}
    )
    table = bench.tabulate(found, ["first", "second"], [0.2, 0.1])
    assert list(table["eps"]) == [0.1] * 3 + [0.2] * 3
    # image 5, by the first attack, not only by the second
    assert list(table["robust"]) == [2, 1, 1, 2, 1, 1]


def request(**changed):
    options = {"attack": "pgd", "norm": "l2", "eps": [0.1], "n": 1, "steps": 3, "restarts": 2}
    return Namespace(**(options | {"queries": 7} | changed))


def test_stages_are_those_of_autoattack_or_the_attack_itself():
    (pgd,) = bench.stages(request(), 0.6).items()
    assert pgd[0] == "pgd"
    assert pgd[1].keywords == {
        "eps": 0.6,
        "norm": NORMS["l2"],
        "steps": 3,
        "step_size": 0.5,
        "restarts": 2,
    }
    ensemble = bench.stages(request(attack="autoattack"), 0.6)
    assert list(ensemble) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert ensemble["apgd-ce"].keywords["steps"] == 3
    squares = [ensemble["square"], bench.stages(request(attack="square"), 0.6)["square"]]
    assert [square.keywords["queries"] for square in squares] == [7, 7]
