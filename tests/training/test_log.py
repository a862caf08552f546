"""What a run says of itself."""

import pytest

from fer_jax.data import Digest
from fer_jax.training import log


@pytest.mark.parametrize(
    ("before", "expected"),
    [("", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16, float32")],
)
def test_a_run_that_goes_on_elsewhere_names_the_types_of_all_its_sittings(before, expected, tiny):
    earlier = {"activations": before} if before else {}
    metadata = log.origin(tiny(), Digest("d1"), "", [], earlier)
    assert metadata["activations"] == expected
