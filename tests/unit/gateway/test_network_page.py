"""`docs/network.md` is true to the code: each bound with its value, and an example that is valid."""

import re
import tomllib
from pathlib import Path

import pytest

from gateway import Catalogue, call_size, envelope, graphql_document, headers, plain_json, rest_call
from gateway.address_ranges import is_never_allowed
from gateway.network import Network
from gateway.policy import ReplyBounds
from gateway.service import MAX_REDIRECTS, RestEndpoint
from workers.transports import decoding, http_endpoint

PAGE = (Path(__file__).resolve().parents[3] / "docs/network.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", PAGE.partition("## Bounds")[2], re.MULTILINE))
BOUNDS = {
    "a call, encoded": [call_size.MAX_CALL_BYTES],
    "a message, as it is and decompressed": [call_size.MAX_MESSAGE_BYTES],
    "nesting of a call's JSON, of a GraphQL document, of a reply": [plain_json.MAX_DEPTH],
    "path and query together, percent-encoded": [vars(rest_call)["_MAX_TARGET"]],
    "headers or metadata of a call": [vars(headers)[name] for name in ("_MAX_COUNT", "_MAX_VALUE", "_MAX_TOTAL")],
    "a GraphQL document": [vars(graphql_document)["_MAX_LENGTH"]],
    "ids": [vars(envelope)["_MAX_ID"]],
    "an integer": [plain_json.MAX_BITS],
    "a reply, decoded": [ReplyBounds().max_bytes],
    "messages of a gRPC stream": [ReplyBounds().max_messages],
    "headers of a reply": [128, 8190, vars(http_endpoint)["_MAX_REPLY_HEADERS"], 16384],
    "content codings of a reply": [vars(decoding)["_MAX_STACKED"], vars(decoding)["_MAX_MEMBERS"]],
    "the body of an error": [http_endpoint.MAX_DETAILS, 1],
}


@pytest.mark.parametrize("row", BOUNDS)
def test_a_bound_is_the_one_that_acts(row: str) -> None:
    assert [int(number) for number in re.findall(r"\b\d+\b", ROWS[row])] == BOUNDS[row]


def test_no_bound_is_forgotten() -> None:
    assert set(ROWS) - {"what", "---"} == {*BOUNDS, "a form"}


def test_its_example_is_a_catalogue() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert Catalogue.parse(tomllib.loads(example)).services["user-service"].network == Network(allow=("10.20.0.0/16",))


def test_redirects_are_as_it_says() -> None:
    assert RestEndpoint(url="http://x").redirects == 0
    assert f"({MAX_REDIRECTS} at most)" in PAGE


def test_what_is_never_allowed_is_never_allowed() -> None:
    from ipaddress import ip_network

    never = PAGE.partition("**Never allowed**")[2].partition("A catalogue that has one")[0]
    listed = re.findall(r"[0-9a-f]{1,4}[:.][0-9a-f:.]+(?:/\d+)?", never)
    assert len(listed) == 8
    assert all(is_never_allowed(ip_network(entry.rstrip("."))) for entry in listed)
