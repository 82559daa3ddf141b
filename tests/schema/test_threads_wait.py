"""How threads wait is set before torch is loaded, unless the user has said it."""

import os
import subprocess
import sys

import pytest

from v1builder.schema.threads import wait_briefly


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_what_the_user_says_is_left(said, expected):
    wait_briefly(said)
    assert said == expected


@pytest.mark.parametrize("module", ["v1builder", "v1builder.cli"])
def test_importing_the_package_is_enough_and_loads_no_torch(module):
    code = (
        f"import os, sys, {module}; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules,"
        " 'numba' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["1000", "False", "False"]
