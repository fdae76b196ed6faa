"""The environment of a producer: what is accepted, and what is said without showing a secret."""

from pathlib import Path
from typing import Any

import pytest

from gateway import Settings, SettingsError
from gateway.broker import make_app
from gateway.signing_key import SigningKey

SECRET = "hunter2"


def environment(broker: str, result: str | None = None) -> dict[str, str]:
    return {"GATEWAY_BROKER_URL": broker} | ({} if result is None else {"GATEWAY_RESULT_URL": result})


@pytest.mark.parametrize(
    ("broker", "result", "amqp"),
    [
        ("redis://h:6379/0", None, False),
        ("rediss://:p@h/1?ssl_cert_reqs=required", None, False),
        ("sentinel://:p@h:26379/0?master_name=m;sentinel://i:26379", None, False),
        ("redis+socket:///run/valkey.sock?virtual_host=2", None, False),
        ("redis://h", "redis://h:6379/?db=3", False),
        ("amqp://u:p@h//", "redis://h/0", True),
        ("amqp://u:p@h/vhost", "redis://h/0", True),
        ("amqp://u:p@h1//;amqp://u:p@h2//", "redis://h/0", True),
        ("redis://:a;b@h/0", None, False),
    ],
)
def test_what_is_accepted(broker: str, result: str | None, amqp: bool) -> None:
    settings = Settings.from_env(environment(broker, result))
    assert (settings.broker_url, settings.result_url) == (broker, result or broker)
    assert settings.broker_is_amqp is amqp


@pytest.mark.parametrize(
    ("broker", "result", "said"),
    [
        ("", None, "GATEWAY_BROKER_URL is not set"),
        (f"sentinel://:{SECRET}@h:26379/0", None, "GATEWAY_BROKER_URL names no master.*or set GATEWAY_BROKER_MASTER"),
        ("redis://h", f"sentinel://:{SECRET}@h:1;sentinel://:{SECRET}@i:1", "GATEWAY_RESULT_URL names no master"),
        (f"sentinel://:{SECRET}@h:1/0?master_name=m;redis://h", "redis://h", "servers of one kind"),
        (f"sentinel://:{SECRET}@h:1/x?master_name=m", None, "no number for its database"),
        (f"redis://:{SECRET}@h:6379/x", None, "GATEWAY_BROKER_URL has no number for its database.*redis://host:6379/0"),
        (f"redis://:{SECRET}@h:6379/0/1", None, "GATEWAY_BROKER_URL has no number for its database"),
        ("amqp://h", f"rediss://:{SECRET}@h/-1", "GATEWAY_RESULT_URL has no number for its database.*rediss://host"),
        ("redis://h1/0;redis://h2/x", "redis://h", "GATEWAY_BROKER_URL has no number for its database"),
        ("redis://h?db=x", None, "GATEWAY_BROKER_URL has no number for its database"),
        ("redis+socket:///run/s.sock?virtual_host=x", None, "no number for its database.*virtual_host=0"),
        (f"sentinel://h:1?master_name=m&sentinel_pass={SECRET}", None, "the option sentinel_pass, which is not known"),
        (f"sentinel://:{SECRET}@h:1;i:2", None, "cannot be read as a URL"),
        ("redis://h", f"redis://:{SECRET}@h1;redis://h2", "GATEWAY_RESULT_URL has several URLs"),
        ("redis://h1;redis://h2", None, "GATEWAY_RESULT_URL is not set.*one redis:// URL"),
        ("amqp://h", None, "GATEWAY_RESULT_URL is not set"),
        ("amqp://h;redis://h", "redis://h", "servers of one kind"),
        (f"{SECRET}:redis", None, "does not begin with redis://"),
        ("redis://h", f"http://{SECRET}@h", "GATEWAY_RESULT_URL does not begin with"),
        (f"redis://:{SECRET}@h:port", None, "cannot be read as a URL"),
        (f"redis://[{SECRET}", None, "cannot be read as a URL"),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(broker: str, result: str | None, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        Settings.from_env(environment(broker, result))
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("rediss://:p@h/1", "rediss://:p@h/1?ssl_cert_reqs=required"),
        ("rediss://h/1?ssl_ca_certs=/ca.pem", "rediss://h/1?ssl_ca_certs=/ca.pem&ssl_cert_reqs=required"),
        ("rediss://h/1?ssl_cert_reqs=CERT_NONE&db=1", "rediss://h/1?ssl_cert_reqs=none&db=1"),
        ("rediss://h/1?ssl_cert_reqs=optional", "rediss://h/1?ssl_cert_reqs=optional"),
    ],
)
def test_a_certificate_is_checked_unless_it_is_said_otherwise(url: str, read: str) -> None:
    settings = Settings.from_env(environment(url))
    assert settings.broker_url == settings.result_url == read


@pytest.mark.parametrize(
    ("broker", "result", "names", "read"),
    [
        (
            "sentinel://h:1/0;sentinel://i:2",
            None,
            {"GATEWAY_BROKER_MASTER": "m n"},
            ("sentinel://h:1/0?master_name=m%20n;sentinel://i:2",) * 2,
        ),
        (
            "sentinel://h:1/0?master_name=b",
            "sentinel://h:1/1",
            {"GATEWAY_RESULT_MASTER": "r", "GATEWAY_BROKER_MASTER": "ignored"},
            ("sentinel://h:1/0?master_name=b", "sentinel://h:1/1?master_name=r"),
        ),
        (
            "amqp://h",
            "sentinel://h:1/1?sentinel_password=s",
            {"GATEWAY_RESULT_MASTER": "r"},
            ("amqp://h", "sentinel://h:1/1?sentinel_password=s&master_name=r"),
        ),
    ],
)
def test_the_master_of_sentinels_may_be_named_beside_them(
    broker: str, result: str | None, names: dict[str, str], read: tuple[str, str]
) -> None:
    settings = Settings.from_env(environment(broker, result) | names)
    assert (settings.broker_url, settings.result_url) == read


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        (f"redis://:{SECRET}@h/0", "redis://***@h/0"),
        (f"amqp://me:{SECRET}@h1//;amqp://me:{SECRET}@h2//", "amqp://***@h1//;amqp://***@h2//"),
        (f"redis://:a;{SECRET}@h", "redis://***@h"),
        (f"redis://:a@{SECRET}@h", "redis://***@h"),
        (f"redis://:a?{SECRET}@h", "redis://***"),
        (f"redis://:a?{SECRET}@h?x=1", "redis://***"),
        (f"redis://h/0?password={SECRET}", "redis://h/0"),
        (f"redis+socket:///s.sock?password=a@{SECRET}", "redis+socket://***"),
        (f"redis://:{SECRET}@h:port", "redis://***@h:port"),
        (f"redis://:{SECRET}@[h", "redis://***@[h"),
        (SECRET, "***"),
        ("", "***"),
    ],
)
def test_the_repr_never_fails_and_shows_no_password(url: str, shown: str) -> None:
    settings = Settings(
        broker_url=url, result_url=url, config=Path("c"), caller="orders", caller_key=SigningKey(SECRET)
    )
    assert repr(settings) == f"<Settings broker={shown} result={shown} config=c caller=orders>"


def test_storing_a_result_is_tried_again_for_less_than_a_second_inside_celery() -> None:
    app = make_app(Settings(broker_url="redis://h", result_url="redis://h"))
    backend: Any = app.backend
    assert backend.always_retry
    assert backend.max_retries == 3
    assert backend.max_retries * backend.max_sleep_between_retries_ms <= 1000
    app.close()
