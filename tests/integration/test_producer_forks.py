"""A gateway that was used before `os.fork`, as a web server that loads the app first and then forks has it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.forks import SCENARIOS
from tests.integration.stack import Stack

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", [scenario.__name__ for scenario in SCENARIOS])
def test_parent_and_child(stack: Stack, name: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning"),
            *("-m", "tests.integration.forks", name),
        ],
        env=stack.environment,
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
