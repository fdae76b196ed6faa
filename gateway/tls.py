"""The table `tls` of a service: whom it trusts, and which certificate the gateway shows."""

import re
from collections.abc import Iterator

import msgspec

__all__ = ["VERSIONS", "Tls", "tls_problems"]

#: What `min_version` may be.
VERSIONS = ("1.2", "1.3")
_FILE = re.compile(r"file:/[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f/]")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `docs/tls.md`. Services are always verified; nothing here turns that off.

    Attributes:
        ca: `file:/path` of the authorities that may have signed the service's certificate, as PEM; None: the system's.
        cert: `file:/path` of the gateway's certificate, with what leads to its authority, as PEM; None: none is shown.
        key: `file:/path` of its private key, as PEM without a passphrase.
        min_version: of TLS, one of `VERSIONS`.
        server_name: what the service is asked for (SNI), and the name in its certificate; None: that of its address.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    min_version: str = "1.2"
    server_name: str | None = None


def tls_problems(key: str, tls: Tls, *, grpc: bool, resolved: bool) -> Iterator[str]:
    """One line for each thing that is wrong with a `tls` table.

    Args:
        key: of the service's table.
        tls: what is written there.
        grpc: whether the service has a gRPC endpoint that speaks TLS.
        resolved: whether variables are resolved.
    """
    place = f"{key}.tls"

    def readable(value: str | None) -> bool:
        return value is not None and (resolved or "${" not in value)

    for name, value in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if value is not None and readable(value) and not _FILE.fullmatch(value):
            # A key may be written here itself, by mistake, and then must not be shown.
            shown = f" = {value!r}" if len(value) <= 200 and "\n" not in value and name != "key" else ""
            yield f"{place}.{name}{shown}: is not a reference to a file; write 'file:/…/{name}.pem'"
    if tls.cert is not None and tls.key is None:
        yield f"{place}.cert = {tls.cert!r}: has no key; add key = 'file:/…/key.pem', or leave cert out"
    if tls.key is not None and tls.cert is None:
        yield f"{place}.key: has no certificate; add cert = 'file:/…/cert.pem', or leave key out"
    if readable(tls.min_version):
        if tls.min_version not in VERSIONS:
            yield f"{place}.min_version = {tls.min_version!r}: is not to be had; write '1.2' or '1.3'"
        elif tls.min_version == "1.3" and grpc:
            yield (
                f"{place}.min_version = '1.3': gRPC's library for Python takes TLS 1.2 too, and cannot be told not to;"
                " write '1.2', and let the service refuse it, or make the other endpoints a service of their own"
            )
    if tls.server_name is not None and readable(tls.server_name) and not _NAME.fullmatch(tls.server_name):
        yield (
            f"{place}.server_name = {tls.server_name[:200]!r}: is no host name; write the name in the service's"
            " certificate, without scheme and port"
        )
