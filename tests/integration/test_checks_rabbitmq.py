"""What is checked of RabbitMQ before a worker connects."""

import time
from pathlib import Path

import pytest

from gateway import Catalogue, Settings
from gateway.checks import Finding, Level, check_all, check_worker
from gateway.checks import rabbitmq as check
from gateway.dev.process import free_port
from gateway.dev.rabbitmq import RabbitMQ
from gateway.dev.valkey import Valkey


def of_broker(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.what == "broker"]


def look(url: str, valkey: Valkey, *, total: float = 10.0, patience_s: float = 0.0) -> list[Finding]:
    table = {"rest": {"url": "http://users"}, "timeouts": {"total": total}}
    settings = Settings(broker_url=url, result_url=valkey.url(11))
    return of_broker(check_worker(settings, Catalogue.parse({"services": {"users": table}}), {}, patience_s=patience_s))


def test_a_server_that_is_well(rabbitmq: RabbitMQ, vhost: str, valkey: Valkey) -> None:
    began = time.monotonic()
    (finding,) = look(vhost, valkey)
    assert time.monotonic() - began < 2
    assert finding.level is Level.OK
    assert finding.found.startswith("RabbitMQ 3.")
    assert finding.found.endswith(" answers")


def test_a_server_that_takes_no_messages(rabbitmq: RabbitMQ, vhost: str, valkey: Valkey) -> None:
    rabbitmq.alarm(True)
    try:
        began = time.monotonic()
        answers, finding = look(vhost, valkey)
        assert time.monotonic() - began < 5
        assert answers.level is Level.OK
        assert finding.level is Level.WARNING, "workers empty it, and so they start"
        assert finding.found.startswith("it takes no messages (")
        assert "rabbitmqctl status" in finding.cure
        settings = Settings(broker_url=vhost, result_url=valkey.url(11))
        _, finding = of_broker(check_all(settings, {}))
        assert finding.level is Level.ERROR
    finally:
        rabbitmq.alarm(False)
    assert [finding.level for finding in look(vhost, valkey)] == [Level.OK]


def test_a_server_that_is_not_there(valkey: Valkey) -> None:
    began = time.monotonic()
    (finding,) = look(f"amqp://guest:hunter2@127.0.0.1:{free_port()}//", valkey)
    assert time.monotonic() - began < 5
    assert finding.level is Level.ERROR
    assert finding.found.startswith("does not answer (")
    assert finding.cure == "start it, or correct GATEWAY_BROKER_URL"
    assert "hunter2" not in str(finding)


def test_of_a_list_one_is_enough(vhost: str, valkey: Valkey) -> None:
    (finding,) = look(f"amqp://guest:guest@127.0.0.1:{free_port()}//;{vhost}", valkey)
    assert finding.level is Level.OK


@pytest.mark.parametrize(
    ("wrong", "said"), [("hunter2", "correct user and password"), ("vhost", "correct GATEWAY_BROKER_URL")]
)
def test_a_login_that_is_refused(rabbitmq: RabbitMQ, valkey: Valkey, wrong: str, said: str) -> None:
    url = rabbitmq.url("nowhere") if wrong == "vhost" else rabbitmq.url().replace("guest@", f"{wrong}@")
    began = time.monotonic()
    (finding,) = look(url, valkey)
    assert time.monotonic() - began < 5
    assert finding.level is Level.ERROR
    assert said in finding.cure
    assert "hunter2" not in str(finding)


def test_calls_that_the_server_would_take_from_their_worker(vhost: str, valkey: Valkey) -> None:
    assert len(look(vhost, valkey, total=1799.0)) == 1
    _, finding = look(vhost, valkey, total=1800.0)
    assert finding.level is Level.WARNING
    assert finding.cure == "set consumer_timeout = 2400000 in rabbitmq.conf (ms), or lower timeouts.total"


@pytest.mark.parametrize(
    ("version", "level"), [("3.9.13", Level.ERROR), ("3.10.0", Level.OK), ("4.1.2", Level.OK), ("", Level.OK)]
)
def test_a_server_that_is_too_old(version: str, level: Level) -> None:
    (finding,) = check._version("RabbitMQ", version)
    assert finding.level is level
    assert (finding.cure == "use 3.10 or newer") is (level is Level.ERROR)


def test_a_server_that_comes_a_little_later(tmp_path: Path, vhost: str, valkey: Valkey) -> None:
    began = time.monotonic()
    (finding,) = look(f"amqp://guest:guest@127.0.0.1:{free_port()}//", valkey, patience_s=1.0)
    assert 0.7 < time.monotonic() - began < 5, "it is asked again"
    assert finding.level is Level.ERROR
