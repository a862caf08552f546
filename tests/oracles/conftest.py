"""`record`: the module record.py beside this file; a test with an argument `case` runs for each of
its cases.
"""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("record", Path(__file__).parent / "record.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", module.CASES, ids=lambda case: case.name)


@pytest.fixture(scope="session")
def record():
    return module
