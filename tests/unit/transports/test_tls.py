"""The files of a `tls` table: what can be used, what is said of the rest, and when they are read again."""

import logging
import ssl
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.tls import Tls
from tests.servers.authority import PemFiles
from workers.transports.tls import CertificateError, Certificates


@pytest.fixture
def files(tmp_path: Path) -> PemFiles:
    return PemFiles(tmp_path)


def problem(tls: Tls) -> str:
    with pytest.raises(CertificateError) as caught:
        Certificates("users", tls)
    said = str(caught.value)
    assert said.startswith("file:/")
    assert "; " in said, "a cure"
    assert "MI" not in said, "nothing of what is in it"
    return said


def test_everything_is_verified(files: PemFiles) -> None:
    for table in (Tls(), files.table(), files.table(shows=files.other, min_version="1.3")):
        context = Certificates("users", table).current().context
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        wanted = ssl.TLSVersion.TLSv1_3 if table.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
        assert context.minimum_version is wanted


def test_an_authority_of_our_own_is_the_only_one(files: PemFiles) -> None:
    context = Certificates("users", files.table()).current().context
    assert context.cert_store_stats()["x509_ca"] == 1


def test_comments_beside_certificates(files: PemFiles) -> None:
    bundle = "# Főtanúsítvány\n".encode() + files.ours.cert_pem.bytes() + b"\n# more\n" + files.other.cert_pem.bytes()
    context = Certificates("users", Tls(ca=files.write("ca.pem", bundle))).current().context
    assert context.cert_store_stats()["x509_ca"] == 2


def test_key_and_certificate_in_one_file(files: PemFiles) -> None:
    both = files.write("both.pem", files.other.issue_cert("x.example").private_key_and_cert_chain_pem.bytes())
    assert Certificates("users", Tls(cert=both, key=both)).current().cert is not None


@pytest.mark.parametrize("field", ["ca", "cert", "key"])
@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read (FileNotFoundError)"), (b"", "is no "), (b"\xff\x00 text", "is no "), (b"half", "is no ")],
)
def test_files_that_are_not_what_they_should_be(files: PemFiles, field: str, content: bytes | None, why: str) -> None:
    table = files.table(shows=files.other)
    reference = getattr(table, field)
    path = Path(reference.removeprefix("file:"))
    if content is None:
        path.unlink()
    elif content == b"half":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        path.write_bytes(content)
    said = problem(table)
    assert said.startswith(f"{reference}: {why}")


def test_certificate_and_key_change_places(files: PemFiles) -> None:
    table = files.table(shows=files.other)
    said = problem(msgspec.structs.replace(table, cert=table.key, key=table.cert))
    assert said.startswith(f"{table.key}: is no certificate")


def test_no_pair(files: PemFiles) -> None:
    table = files.table(shows=files.other)
    files.write("key.pem", files.other.issue_cert("x.example").private_key_pem.bytes())
    assert problem(table).startswith(f"{table.key}: does not belong to {table.cert}")


def test_a_key_with_a_passphrase_asks_nobody(files: PemFiles) -> None:
    table = files.table(shows=files.other)
    key = load_pem_private_key((files.folder / "key.pem").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    files.write("key.pem", locked)
    assert "locked with a passphrase" in problem(table)


def test_files_are_looked_at_once_a_second(files: PemFiles) -> None:
    now = 100.0
    certificates = Certificates("users", files.table(), clock=lambda: now)
    first = certificates.current()
    files.ca(files.other)
    now = 100.9
    assert certificates.current() is first
    now = 101.0
    second = certificates.current()
    assert second is not first
    now = 105.0
    assert certificates.current() is second, "the same files are the same"


def test_what_is_written_one_after_the_other_is_used_together(
    files: PemFiles, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    certificates = Certificates("users", files.table(shows=files.other), clock=lambda: now)
    first = certificates.current()
    leaf = files.other.issue_cert("gateway.example")
    with caplog.at_level(logging.WARNING, logger="gateway.tls"):
        for step in range(5):  # a key that is written slowly
            (files.folder / "key.pem").write_bytes(leaf.private_key_pem.bytes()[: 20 * step])
            now += 2.0
            assert certificates.current() is first
        files.write("key.pem", leaf.private_key_pem.bytes())
        now += 2.0
        assert certificates.current() is first, "the certificate is the old one"
        files.pair(leaf)
        now += 2.0
        assert certificates.current() is not first
        assert len(caplog.records) == 1
        (files.folder / "ca.pem").unlink()
        for _ in range(3):
            now += 2.0
            certificates.current()
        assert len(caplog.records) == 2, "what breaks anew is named anew"
    assert "users: the new TLS files are not used" in caplog.text


def test_a_link_that_moves(files: PemFiles) -> None:
    """As Kubernetes mounts secrets: a link to a folder is replaced."""
    for name, authority in (("v1", files.ours), ("v2", files.other)):
        (files.folder / name).mkdir()
        (files.folder / name / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (files.folder / "now").symlink_to("v1")
    clock = iter(range(0, 100, 5))
    certificates = Certificates("users", Tls(ca=f"file:{files.folder}/now/ca.pem"), clock=lambda: next(clock))
    first = certificates.current()
    (files.folder / "new").symlink_to("v2")
    (files.folder / "new").replace(files.folder / "now")
    assert certificates.current() is not first


def test_what_is_shown_of_it(files: PemFiles) -> None:
    certificates = Certificates("users", files.table(shows=files.other))
    assert repr(certificates) == (
        f"<Certificates users ca file:{files.folder}/ca.pem cert file:{files.folder}/cert.pem"
        f" key file:{files.folder}/key.pem>"
    )
    assert repr(certificates.current()) == "TlsContext()"
    assert repr(Certificates("users", Tls())) == "<Certificates users of the system>"


def test_the_systems_authorities_are_those_of_openssl(files: PemFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Certificates("users", Tls()).current()
    monkeypatch.setenv("SSL_CERT_FILE", files.ca(files.ours).removeprefix("file:"))
    assert context.authorities() == files.ours.cert_pem.bytes()
    monkeypatch.setenv("SSL_CERT_FILE", str(files.folder / "none"))
    hashed = files.folder / "hashed"
    hashed.mkdir()
    (hashed / "0a1b2c3d.0").write_bytes(files.other.cert_pem.bytes())
    (hashed / "same.pem").write_bytes(files.other.cert_pem.bytes())
    monkeypatch.setenv("SSL_CERT_DIR", str(hashed))
    assert context.authorities() == files.other.cert_pem.bytes()
    (hashed / "0a1b2c3d.0").unlink()
    assert context.authorities() is None
