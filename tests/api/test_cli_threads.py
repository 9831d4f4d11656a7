"""The command line keeps NumPy's products on one thread, and a user's own choice before that."""

import os
import subprocess
import sys

import pytest

PROBE = """
import os, sys
from api.cli import main
sys.argv = ["mmkg", "--version"]
try:
    main()
except SystemExit:
    pass
print(os.environ["OPENBLAS_NUM_THREADS"])
"""


@pytest.mark.parametrize(("given", "expected"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")])
def test_openblas_gets_one_thread_unless_the_user_says_otherwise(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"} | given

    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split()[-1] == expected
