"""Start-up and doctor: names that lead to where a worker may not go are named; all else is not."""

import pytest

from gateway import Catalogue
from gateway.checks import Level
from gateway.checks.addresses import check_addresses
from tests.servers.names import Names

CATALOGUE = Catalogue.parse(
    {
        "services": {
            "private": {"rest": {"url": "http://private.example"}},
            "allowed": {"rest": {"url": "http://private.example"}, "network": {"allow": ["private"]}},
            "metadata": {"grpc": {"target": "metadata.example:50051", "reflection": True}},
            "mixed": {"graphql": {"url": "http://mixed.example"}},
            "public": {"rest": {"url": "https://public.example"}},
            "unknown": {"rest": {"url": "http://unknown.example"}},
            "literal": {"rest": {"url": "http://127.0.0.1:1"}, "grpc": {"target": "unix:/run/x", "reflection": True}},
            "local": {"rest": {"url": "http://localhost:1"}},
        }
    },
    environ={},
)


def test_a_line_for_each_name_that_leads_where_no_call_may_go(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(
        monkeypatch,
        {
            "private.example": ["10.0.0.7"],
            "metadata.example": ["169.254.169.254"],
            "mixed.example": ["8.8.8.8", "10.0.0.7"],
            "public.example": ["8.8.8.8"],
            "unknown.example": [],
        },
    )
    found = {finding.what: finding for finding in check_addresses(list(CATALOGUE.services.values()))}
    assert set(found) == {"services.private.rest.url", "services.metadata.grpc.target"}
    assert all(finding.level is Level.WARNING for finding in found.values())
    assert "network" in found["services.private.rest.url"].found
    assert "nothing can allow" in found["services.metadata.grpc.target"].found
