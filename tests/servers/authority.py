"""A certificate authority of the tests' own, made anew for each run, and what it signs as files."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import trustme

from gateway.tls import Tls

__all__ = ["PemFiles", "server_context", "shown_by"]


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def server_context() -> ssl.SSLContext:
    """For a server on localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def shown_by(writer: asyncio.StreamWriter) -> str | None:
    """Serial number of the certificate that a client has shown."""
    peer = writer.get_extra_info("peercert")
    return str(peer["serialNumber"]) if peer else None


class PemFiles:
    """Files of a service's `tls` table, and servers that go with them.

    Attributes:
        ours: the authority of the servers and of the gateway.
        other: one that nobody trusts unless it is said.
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = trustme.CA()
        self.other = trustme.CA()

    def write(self, name: str, content: bytes) -> str:
        """Put a file in place at once, as rotation does; returns its reference."""
        new = self.folder / f"{name}.new"
        new.write_bytes(content)
        new.replace(self.folder / name)
        return f"file:{self.folder / name}"

    def ca(self, authority: trustme.CA) -> str:
        """Write the authority that is trusted."""
        return self.write("ca.pem", authority.cert_pem.bytes())

    def client(self, authority: trustme.CA) -> tuple[str, str]:
        """Write a new certificate and key of the gateway's."""
        return self.pair(authority.issue_cert("gateway.example"))

    def pair(self, leaf: trustme.LeafCert) -> tuple[str, str]:
        """Write certificate and key."""
        key = self.write("key.pem", leaf.private_key_pem.bytes())
        return self.write("cert.pem", b"".join(pem.bytes() for pem in leaf.cert_chain_pems)), key

    def table(
        self, *, shows: trustme.CA | None = None, min_version: str = "1.2", server_name: str | None = None
    ) -> Tls:
        """A table that trusts our authority, and shows a certificate of an authority."""
        cert, key = (None, None) if shows is None else self.client(shows)
        return Tls(ca=self.ca(self.ours), cert=cert, key=key, min_version=min_version, server_name=server_name)

    def expired(self, authority: trustme.CA, *names: str) -> trustme.LeafCert:
        """A certificate of yesterday."""
        now = datetime.now(UTC)
        return authority.issue_cert(*names, not_before=now - timedelta(days=2), not_after=now - timedelta(days=1))

    def server(
        self,
        leaf: trustme.LeafCert | None = None,
        *,
        alpn: str = "http/1.1",
        demands: trustme.CA | None = None,
        version: ssl.TLSVersion | None = None,
    ) -> ssl.SSLContext:
        """For a server; by default it is 127.0.0.1 with a certificate of our authority.

        Args:
            leaf: its certificate.
            alpn: the protocol that it speaks.
            demands: whoever calls has to show a certificate of this authority.
            version: the only one of TLS that it speaks.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (leaf or self.ours.issue_cert("localhost", "127.0.0.1")).configure_cert(context)
        context.set_alpn_protocols([alpn])
        if demands is not None:
            demands.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context
