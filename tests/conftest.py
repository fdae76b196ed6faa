"""What is run when nothing is said, and how hard property tests search: `--hypothesis-profile=deep` for a long look."""

import pytest
from hypothesis import settings

# The machine's speed is not what is tested.
settings.register_profile("default", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=5000)
settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; run by `make faults`, or with `-m slow`")
    config.addinivalue_line("markers", "matrix: a fault of the matrix; `make faults` runs all, quick or not")
    config.addinivalue_line("markers", "soak: takes longer still; run by `make soak`, or with `-m soak`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, unless marks were chosen."""
    if not config.getoption("markexpr"):
        slow = [item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("soak")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)
