"""No secret leaves the worker, whatever a service says back: every place that anybody can look at is searched.

A new secret is one line in `aviary.py`: `self.nest.new("its name")`; a new scheme one line in `SCHEMES` there.
"""

from collections.abc import Iterator

import pytest

from gateway.dev.rabbitmq import RabbitMQ, find_rabbitmq
from gateway.redaction import Redactor
from tests.canaries.aviary import SCHEMES, Aviary
from tests.canaries.canary import Nest
from tests.canaries.places import command_output, every_page
from tests.faults.figures import show
from tests.servers.keys import signing_pair


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    try:
        find_rabbitmq()
    except FileNotFoundError as error:
        pytest.skip(f"nothing runs on RabbitMQ here: {error}")
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def aviary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aviary]:
    broker = request.getfixturevalue("rabbitmq") if request.param == "rabbitmq" else None
    with Aviary(tmp_path_factory.mktemp("aviary"), broker) as made:
        yield made


@pytest.mark.timeout(300)
def test_no_canary_is_seen_anywhere(aviary: Aviary) -> None:
    calls = aviary.sing()
    aviary.settle()
    dead = aviary.call_ids[::7]
    for place, content in command_output(aviary.environ | _caller(aviary), dead[:8], "service-key"):
        aviary.nest.search(place, content)
    aviary.search_store()
    aviary.search_broker()
    for place, content in every_page(aviary.flower, dead):
        aviary.nest.search(place, content)
    aviary.search_logs()
    sizes = ", ".join(f"{place} {size:,} bytes" for place, size in sorted(aviary.nest.searched.items()))
    show(f"{len(aviary.nest.canaries)} canaries, {calls} calls; searched: {sizes}; found {len(aviary.nest.seen)}")
    broker = set() if aviary.spy is None else {"rabbitmq"}
    assert set(aviary.nest.searched) == {"command", "error", "flower", "log", "redis", "reply"} | broker
    wanted = {(name, protocol) for name in SCHEMES for protocol in ("rest", "grpc")} - {("webhook", "grpc")}
    assert aviary.answered == wanted, "each scheme, by each protocol"
    assert all(size > 1000 for size in aviary.nest.searched.values()), aviary.nest.searched
    assert aviary.nest.seen == []


def _caller(aviary: Aviary) -> dict[str, str]:
    return {"GATEWAY_CALLER": "orders", "GATEWAY_CALLER_KEY": aviary.callers["orders"]}


def test_the_service_did_say_them_back(aviary: Aviary) -> None:
    """Where credentials were taken out it says so: without that nothing was there to be found."""
    assert "[redacted]" in aviary.worker.output()
    redacted = [content for place, content in _kept(aviary) if b"[redacted]" in content]
    assert len(redacted) > 20


def _kept(aviary: Aviary) -> list[tuple[str, bytes]]:
    from tests.canaries.places import every_key

    return list(every_key(aviary.redis_url))


@pytest.mark.parametrize("wrap", ["{}", "a{}b", '{{"x": "{}"}}', "Basic {}"])
def test_a_canary_is_found_where_there_is_one(wrap: str) -> None:
    """The search itself: planted in any form it is found, and once it is taken out it is not."""
    import base64
    from urllib.parse import quote

    nest = Nest()
    secret = nest.new("planted / odd")
    key = nest.key("key", signing_pair()[0])
    redactor = Redactor()
    redactor.register(secret)
    redactor.register_key(key)
    line = key.splitlines()[1]
    forms = [
        secret,
        quote(secret, safe=""),
        line,
        *(base64.b64encode(b"x" * n + secret.encode() + b"yyy").decode() for n in range(4)),
    ]
    for number, form in enumerate(forms, 1):
        planted = wrap.format(form)
        nest.search("planted", planted)
        assert len(nest.seen) == number, planted
        nest.search("redacted", redactor.line(planted))
        assert len(nest.seen) == number, planted
