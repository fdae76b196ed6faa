"""The keys of a service: from where, which are accepted, and that none is shown."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.server import ServiceKeys
from gateway.server.keys import ServiceKeysError


def test_every_key_of_a_rotation_is_accepted_and_no_other() -> None:
    keys = ServiceKeys(["old-key", "new-key"])
    assert keys.accept("old-key")
    assert keys.accept(b"new-key")
    assert not keys.accept("third-key")


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        b"",
        " ",
        "secre",
        "secret1",
        "Secret",
        "secret ",
        "secret,secret",
        b"\xff\xfe",
        "sécret",
        "\udcff",
        "\0",
    ],
)
def test_what_only_resembles_a_key_is_refused(given: str | bytes | None) -> None:
    assert not ServiceKeys(["secret"]).accept(given)


def test_a_key_that_is_not_ascii_is_compared_as_utf_8() -> None:
    keys = ServiceKeys(["clé"])
    assert keys.accept("clé".encode())
    assert not keys.accept("clé".encode("latin-1"))


@pytest.mark.parametrize("keys", [[], [""], ["good", ""], ["good", "  "], ["good\nkey"], [" good"], [b"good\x00"]])
def test_no_key_and_unusable_keys_are_refused_without_showing_one(keys: list[str | bytes]) -> None:
    with pytest.raises(ServiceKeysError) as caught:
        ServiceKeys(keys)
    assert "good" not in str(caught.value)


def test_one_string_is_not_taken_for_a_list_of_one_letter_keys() -> None:
    with pytest.raises(TypeError, match="every character"):
        ServiceKeys("secret")


@pytest.mark.parametrize("reference", ["env:SERVICE_KEYS", "SERVICE_KEYS"])
@pytest.mark.parametrize("text", ["one,two", " one , two ", "one\ntwo\n", "one\r\n\r\ntwo"])
def test_keys_come_from_the_environment(reference: str, text: str) -> None:
    keys = ServiceKeys.load(reference, {"SERVICE_KEYS": text})
    assert len(keys) == 2
    assert keys.accept("one")
    assert keys.accept("two")
    assert not keys.accept("one,two")


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEYS", "one")
    assert ServiceKeys.load("env:SERVICE_KEYS").accept("one")


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("one\ntwo\n")
    keys = ServiceKeys.load(f"file:{file}")
    assert keys.accept("two")
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "SERVICE_KEYS is not set in the environment; set it"),
        ("", "SERVICE_KEYS: there is no service key"),
        (" \n", "SERVICE_KEYS: there is no service key"),
        ("one,", "SERVICE_KEYS: service key 2 is empty"),
        ("one,,two", "SERVICE_KEYS: service key 2 is empty"),
    ],
)
def test_an_environment_without_a_usable_key_is_refused(text: str | None, says: str) -> None:
    with pytest.raises(ServiceKeysError, match=says):
        ServiceKeys.load("env:SERVICE_KEYS", {} if text is None else {"SERVICE_KEYS": text})


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceKeysError, match="cannot be read: No such file"):
        ServiceKeys.load(f"file:{tmp_path / 'absent'}")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ServiceKeysError, match="not UTF-8"):
        ServiceKeys.load(f"file:{tmp_path / 'binary'}")


def test_a_key_given_as_a_reference_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ServiceKeysError, match="not a reference") as caught:
        ServiceKeys.load("s3cr3t-key", {})
    assert "s3cr3t" not in str(caught.value)


def test_no_key_can_be_read_out_of_the_object() -> None:
    keys = ServiceKeys(["s3cr3t-key", "other"])
    assert repr(keys) == "<ServiceKeys 2 keys>"
    assert b"s3cr3t" not in pickle.dumps(keys)


def test_the_package_loads_grpc_only_for_those_who_ask_for_its_interceptor() -> None:
    program = (
        "import sys, gateway.server; before = 'grpc' in sys.modules; gateway.server.ServiceAuthInterceptor;"
        "print(before, 'grpc' in sys.modules, 'httpx' in sys.modules, 'starlette' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["False", "True", "False", "False"]
