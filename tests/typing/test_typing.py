"""The public API as a type checker sees it."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def test_a_producer_is_type_checked() -> None:
    argv = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        str(Path(__file__).with_name("producer.py")),
    ]
    done = subprocess.run(argv, cwd=_ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout


def test_errors_are_reachable_from_the_package() -> None:
    script = "import gateway; print(gateway.errors.ServiceError.__name__, 'errors' in dir(gateway))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ServiceError", "True"]
