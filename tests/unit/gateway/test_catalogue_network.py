"""Addresses in the catalogue: what is refused before a worker starts, each with key, value, reason and cure."""

from typing import Any

import pytest

from gateway import Catalogue
from gateway.catalogue import CatalogueError
from gateway.grpc_target import GrpcTarget
from gateway.network import Network


def load(service: dict[str, Any], defaults: dict[str, Any] | None = None) -> Catalogue:
    document = {"services": {"users": service}, **({"defaults": defaults} if defaults is not None else {})}
    return Catalogue.parse(document, environ={})


def problem(service: dict[str, Any], defaults: dict[str, Any] | None = None) -> str:
    with pytest.raises(CatalogueError) as caught:
        load(service, defaults)
    (line,) = caught.value.problems
    return line


def grpc(target: str) -> dict[str, Any]:
    return {"grpc": {"target": target, "reflection": True}}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://localhost:8000",
        "http://[::1]:8000/base",
        "http://10.0.0.7",
        "http://user-service:5000",
        "https://users_2.example.com./graphql",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_urls_that_are_fine(url: str) -> None:
    load({"rest": {"url": url}})


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("169.254.169.254", "metadata"),
        ("169.254.0.1", "link-local"),
        ("100.100.100.200", "metadata"),
        ("[fd00:ec2::254]", "metadata"),
        ("[::ffff:169.254.169.254]", "metadata"),
        ("[::ffff:a9fe:a9fe]", "metadata"),
        ("[64:ff9b::a9fe:a9fe]", "metadata"),
        ("[2002:a9fe:a9fe::]", "metadata"),
        ("[fe80::1]", "link-local"),
        ("[fe80::1%25eth0]", "zone id"),
        ("[::1%25lo]", "zone id"),
        ("0.0.0.0", "unspecified"),
        ("[::]", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("240.0.0.1", "reserved"),
        ("metadata.google.internal", "metadata"),
        ("METADATA.google.internal.", "metadata"),
        ("2852039166", "write that"),
        ("0xa9fea9fe", "write that"),
        ("0251.0376.0251.0376", "write that"),
        ("169.16689662", "write that"),
        ("127.1", "write that"),
        ("0x7f.1", "write that"),
        ("127.0.0.1.", "write that"),
        ("1.2.3.4.5", "no host"),
        ("%31%36%39.254.169.254", "no host"),
        ("\uff11\uff16\uff19.254.169.254", "not ASCII"),
        ("a b", "space"),
        ("good\\@evil", "credentials"),
        ("evil.example\\.good", "backslash"),
    ],
)
def test_hosts_that_are_refused_whatever_is_allowed(host: str, reason: str) -> None:
    for network in ({}, {"network": {"allow": ["private", "0.0.0.0/0", "::/0"]}}):
        line = problem({"rest": {"url": f"http://{host}:8000/x"}, **network})
        assert line.startswith("services.users.rest.url")
        assert reason in line
        assert ";" in line, "a cure"
    if reason not in ("no host", "not ASCII", "space", "credentials", "backslash"):
        assert reason in problem({"graphql": {"url": f"http://{host}:8000/x"}})


@pytest.mark.parametrize(
    ("target", "places", "name", "authority"),
    [
        ("users:50051", (("users", 50051),), ("users", 50051), "users:50051"),
        ("users", (("users", 443),), ("users", 443), "users"),
        ("dns:///users.example:50051", (("users.example", 50051),), ("users.example", 50051), "users.example:50051"),
        ("dns:users:50051", (("users", 50051),), ("users", 50051), "users:50051"),
        ("127.0.0.1:50051", (("127.0.0.1", 50051),), None, None),
        ("[::1]:50051", (("::1", 50051),), None, None),
        ("::1", (("::1", 443),), None, None),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", (("10.0.0.1", 1), ("10.0.0.2", 2)), None, None),
        ("ipv6:[::1]:50051", (("::1", 50051),), None, None),
        ("unix:/run/users.sock", (), None, None),
        ("unix:///run/users.sock", (), None, None),
        ("unix-abstract:users", (), None, None),
    ],
)
def test_grpc_targets(
    target: str, places: tuple[tuple[str, int], ...], name: tuple[str, int] | None, authority: str | None
) -> None:
    read = GrpcTarget.parse(target)
    assert (read.places, read.name, read.authority) == (places, name, authority)
    load(grpc(target))


@pytest.mark.parametrize(
    "target",
    [
        "",
        ":50051",
        "users:",
        "users:0",
        "users:65536",
        "users:http",
        "users:50051/path",
        "users 2:50051",
        "us\ners:1",
        "http://users:50051",
        "xds:///users",
        "google-c2p:users",
        "vsock:1:2",
        "dns://8.8.8.8/users:50051",
        "dns://users:50051",
        "dns:///:::x",
        "dns:///",
        "ipv4:users:50051",
        "ipv4:[::1]:50051",
        "ipv6:127.0.0.1:50051",
        "ipv4:10.0.0.1:1,",
        "unix:",
        "user@users:50051",
        "%75sers:50051",
        "1.2.3.4.5:50051",
        "users\\x:1",
        "\uff55sers:1",
    ],
)
def test_targets_that_are_none(target: str) -> None:
    line = problem(grpc(target))
    assert line.startswith("services.users.grpc.target")
    assert ";" in line, "a cure"


@pytest.mark.parametrize(
    "target",
    [
        "169.254.169.254:80",
        "ipv4:127.0.0.1:1,169.254.169.254:80",
        "ipv6:[fe80::1]:50051",
        "[::ffff:169.254.169.254]:80",
        "dns:///169.254.169.254:80",
        "2852039166:80",
        "0xa9fea9fe:80",
        "metadata.google.internal:80",
    ],
)
def test_targets_that_are_forbidden(target: str) -> None:
    assert "services.users.grpc.target" in problem({**grpc(target), "network": {"allow": ["private"]}})


def test_network_is_inherited_and_replaced() -> None:
    here = {"rest": {"url": "http://users"}}
    assert load(here).services["users"].network == Network()
    inherited = load(here, {"network": {"allow": ["private"]}})
    assert inherited.services["users"].network.allow == ("private",)
    assert "network" not in inherited.defaults, "it is no policy"
    own = load({**here, "network": {"allow": ["10.0.0.0/8"]}}, {"network": {"allow": ["private"]}})
    assert own.services["users"].network.allow == ("10.0.0.0/8",)
    none = load({**here, "network": {"allow": []}}, {"network": {"allow": ["private"]}})
    assert not none.services["users"].network.allow


@pytest.mark.parametrize(
    "wrong",
    [{"allow": ["everything"]}, {"allow": "private"}, {"allow": ["10.0.0.1/8"]}, {"deny": ["private"]}, "private"],
)
def test_a_wrong_network_names_its_key(wrong: Any) -> None:
    assert problem({"rest": {"url": "http://users"}, "network": wrong}).startswith("services.users.network")
    assert problem({"rest": {"url": "http://users"}}, {"network": wrong}).startswith("defaults.network")


@pytest.mark.parametrize("redirects", [-1, 11, True, "3", 1.5])
def test_wrong_redirects(redirects: Any) -> None:
    assert problem({"rest": {"url": "http://users", "redirects": redirects}}).startswith("services.users.rest")
    assert load({"rest": {"url": "http://users", "redirects": 3}}).services["users"].rest.redirects == 3  # type: ignore[union-attr]
