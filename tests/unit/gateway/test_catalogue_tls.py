"""The table `tls` in the catalogue: what is refused, each with key, value, reason and cure."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway import Catalogue
from gateway.catalogue import CatalogueError
from gateway.checks.unused_tls import unused_tls
from gateway.tls import Tls

REST = {"rest": {"url": "https://users.example.com"}}
GRPC = {"grpc": {"target": "users.example.com:443", "tls": True, "reflection": True}}
PAIR = {"cert": "file:/run/tls/tls.crt", "key": "file:/run/tls/tls.key"}


def load(service: dict[str, Any], environ: dict[str, str] | None = None) -> Catalogue:
    return Catalogue.parse({"services": {"users": service}}, environ={} if environ is None else environ)


def problem(service: dict[str, Any]) -> str:
    with pytest.raises(CatalogueError) as caught:
        load(service)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize("endpoint", [REST, GRPC], ids=["rest", "grpc"])
@pytest.mark.parametrize(
    "tls",
    [{}, {"ca": "file:/run/tls/ca.crt"}, PAIR, {**PAIR, "min_version": "1.2", "server_name": "users.internal"}],
)
def test_tables_that_are_fine(endpoint: dict[str, Any], tls: dict[str, str]) -> None:
    assert load({**endpoint, "tls": tls}).services["users"].tls == Tls(**tls)


def test_without_a_table() -> None:
    assert load(REST).services["users"].tls is None


@pytest.mark.parametrize(
    ("tls", "line"),
    [
        ({"ca": "ca.pem"}, "tls.ca = 'ca.pem': is not a reference to a file; write 'file:/…/ca.pem'"),
        ({"ca": "file:ca.pem"}, "tls.ca = 'file:ca.pem': is not a reference to a file; write 'file:/…/ca.pem'"),
        ({"ca": "file:/"}, "tls.ca = 'file:/': is not a reference to a file; write 'file:/…/ca.pem'"),
        ({"ca": "env:CA"}, "tls.ca = 'env:CA': is not a reference to a file; write 'file:/…/ca.pem'"),
        ({**PAIR, "key": "env:K"}, "tls.key: is not a reference to a file; write 'file:/…/key.pem'"),
        (
            {"cert": PAIR["cert"]},
            "tls.cert = 'file:/run/tls/tls.crt': has no key; add key = 'file:/…/key.pem', or leave cert out",
        ),
        ({"key": PAIR["key"]}, "tls.key: has no certificate; add cert = 'file:/…/cert.pem', or leave key out"),
        ({"min_version": "1.1"}, "tls.min_version = '1.1': is not to be had; write '1.2' or '1.3'"),
        (
            {"server_name": "https://users"},
            (
                "tls.server_name = 'https://users': is no host name; write the name in the service's certificate,"
                " without scheme and port"
            ),
        ),
        ({"min_version": 1.3}, "tls.min_version = 1.3: expected `str`, got `float`; correct it"),
        ({"verify": False}, "tls.verify: is not a key; it can have ca, cert, key, min_version, server_name"),
        ({"ca_file": "file:/ca"}, "tls.ca_file: is not a key; it can have ca, cert, key, min_version, server_name"),
    ],
)
def test_what_is_refused(tls: dict[str, Any], line: str) -> None:
    assert problem({**REST, "tls": tls}) == f"services.users.{line}"


def test_a_key_that_is_written_into_the_catalogue_is_not_shown() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqG\n-----END PRIVATE KEY-----\n"
    for field in ("ca", "cert", "key"):
        with pytest.raises(CatalogueError) as caught:
            load({**REST, "tls": {**PAIR, field: pem}})
        assert "MIGH" not in str(caught.value)


def test_a_version_that_grpc_cannot_insist_on() -> None:
    said = problem({**GRPC, "tls": {"min_version": "1.3"}})
    assert said.startswith("services.users.tls.min_version = '1.3': gRPC's library for Python takes TLS 1.2 too")
    assert "write '1.2'" in said
    load({**REST, "tls": {"min_version": "1.3"}})


def test_variables_are_resolved() -> None:
    service = {**REST, "tls": {"ca": "${CA}", "server_name": "${NAME}"}}
    found = load(service, {"CA": "file:/run/ca.pem", "NAME": "users.internal"}).services["users"].tls
    assert found == Tls(ca="file:/run/ca.pem", server_name="users.internal")
    Catalogue.parse({"services": {"users": service}})  # a producer does not resolve them


def test_doctor_names_endpoints_that_do_not_speak_tls() -> None:
    plain = {
        "rest": {"url": "http://users.example.com"},
        "graphql": {"url": "https://users.example.com"},
        "grpc": {"target": "users.example.com:80", "reflection": True},
    }
    assert [key for key, _ in unused_tls(load({**plain, "tls": {}}).services["users"])] == ["rest.url", "grpc.target"]
    assert not list(unused_tls(load(plain).services["users"]))
    assert not list(unused_tls(load({**REST, **GRPC, "tls": {}}).services["users"]))


def test_the_example_of_the_page_is_a_catalogue() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/tls.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    tls = Catalogue.parse(tomllib.loads(example)).services["user-service"].tls
    assert tls is not None
    assert set(Tls.__struct_fields__) == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
