"""`docs/resilience.md` is true to the code: every key of the policy with its default, and an example that is valid."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway import Catalogue
from gateway.policy import SECTIONS, Policy
from gateway.resolution import LAYERS

PAGE = (Path(__file__).resolve().parents[3] / "docs/resilience.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
KEYS = {
    f"{section}.{name}": getattr(getattr(Policy(), section), name)
    for section in SECTIONS
    for name in getattr(Policy(), section).__struct_fields__
}


def written(value: Any) -> str:
    """A default as the page has it."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(f"`{item}`" if isinstance(item, str) else str(item) for item in value)
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_page_has_every_key_and_no_other() -> None:
    assert sorted(ROWS) == sorted(KEYS)


@pytest.mark.parametrize("key", sorted(KEYS))
def test_the_default_is_the_one_that_acts(key: str) -> None:
    if KEYS[key] is None:
        assert ROWS[key] in ("off", "no limit", "as `attempt`", "as `success_threshold`")
    else:
        assert ROWS[key].removesuffix(" s") == written(KEYS[key])


def test_the_layers_are_the_ones_that_act() -> None:
    assert re.findall(r"^\| \d \| (\w+) \|", PAGE, re.MULTILINE) == [layer for layer, _ in LAYERS]


def test_its_example_is_a_catalogue() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    service = Catalogue.parse(tomllib.loads(example)).services["user-service"]
    assert service.operation_policies["GET /users/{user_id}"].hedge.percentile == 95
