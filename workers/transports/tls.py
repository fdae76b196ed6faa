"""The certificates of one service, as they are in their files now: one place for every transport and its library."""

import contextlib
import logging
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from gateway.tls import Tls

__all__ = ["CertificateError", "Certificates", "TlsContext"]

_log = logging.getLogger("gateway.tls")

#: Seconds between two looks at the files.
_LOOK_S = 1.0
#: How often files are read anew that change while they are read, before a worker starts with what it has.
_TRIES = 5
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.DOTALL)
_MISMATCH = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")

#: What tells that a file is another one, or was written; None: it cannot be looked at.
_Stamp = tuple[int, int, int, int] | None


class CertificateError(ValueError):
    """A file cannot be used; names its reference, never what is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsContext:
    """What a connection is made with. A connection made with another one is of older files.

    Attributes:
        context: verifies the service and its name, and shows the certificate.
        ca: PEM of the authorities; None: the system's.
        cert, key: PEM of what is shown; None: nothing is.
    """

    context: ssl.SSLContext = field(repr=False)
    ca: bytes | None = field(repr=False)
    cert: bytes | None = field(repr=False)
    key: bytes | None = field(repr=False)

    def authorities(self) -> bytes | None:
        """`ca`, or PEM of what OpenSSL trusts here, for a library that brings authorities of its own; None: nothing."""
        return _system_authorities() if self.ca is None else self.ca


class Certificates:
    """The files of a service's `tls` table. They are read on construction, and again when they have changed.

    Args:
        name: of the service, for the log.
        tls: the table.
        clock: monotonic seconds.

    Attributes:
        server_name: what to ask for and to verify, in place of the address's own name; None: that.

    Raises:
        CertificateError: a file cannot be read, is not what it should be, or key and certificate are no pair.
    """

    def __init__(self, name: str, tls: Tls, *, clock: Callable[[], float] = monotonic) -> None:
        self.server_name = tls.server_name
        self._name = name
        self._tls = tls
        self._clock = clock
        self._paths = [_path(reference) for reference in (tls.ca, tls.cert, tls.key) if reference is not None]
        self._warned = False
        for _ in range(_TRIES):
            self._seen = self._stamps()
            try:
                self._current = _load(tls)
            except CertificateError:
                if self._seen == self._stamps():
                    raise
            else:
                if self._seen == self._stamps():
                    break
        else:
            self._current = _load(tls)
        self._look_at = clock() + _LOOK_S

    def current(self) -> TlsContext:
        """What new connections are made with: of the files as they were a second ago at most.

        New files that cannot be used are named in the log once, and the old ones stay in use.
        """
        now = self._clock()
        if self._paths and now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look()
        return self._current

    def _look(self) -> None:
        stamps = self._stamps()
        if stamps == self._seen:
            return
        try:
            loaded = _load(self._tls)
        except CertificateError as error:
            if stamps != self._stamps():
                return  # somebody is writing: the next look tells
            self._seen = stamps
            if not self._warned:
                self._warned = True
                _log.warning("%s: the new TLS files are not used, the old ones stay in use: %s", self._name, error)
            return
        # What was written since may be half in it.
        if stamps == self._stamps():
            self._seen, self._current, self._warned = stamps, loaded, False
            _log.info("%s: the TLS files have changed, new connections use them", self._name)

    def _stamps(self) -> list[_Stamp]:
        return [_stamp(path) for path in self._paths]

    def __repr__(self) -> str:
        files = " ".join(
            f"{name} {reference}"
            for name, reference in (("ca", self._tls.ca), ("cert", self._tls.cert), ("key", self._tls.key))
            if reference is not None
        )
        return f"<Certificates {self._name} {files or 'of the system'}>"


def _system_authorities() -> bytes | None:
    paths = ssl.get_default_verify_paths()
    # Files named by their hash are what OpenSSL itself looks up; the others there are the same once more.
    hashed = sorted(Path(paths.capath).glob("*.[0-9]")) if paths.capath else []
    files = [Path(paths.cafile)] if paths.cafile else hashed
    found = []
    for file in files:
        with contextlib.suppress(OSError):  # OpenSSL goes on without it too
            found.append(file.read_bytes())
    return b"\n".join(found) or None


def _path(reference: str) -> Path:
    return Path(reference.removeprefix("file:"))


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _load(tls: Tls) -> TlsContext:
    ca = None if tls.ca is None else _read(tls.ca)
    cert = None if tls.cert is None else _read(tls.cert)
    key = None if tls.key is None else _read(tls.key)
    authorities = None if tls.ca is None or ca is None else _certificates(tls.ca, ca)
    context = ssl.create_default_context(cadata=authorities)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert is not None and tls.key is not None and cert is not None and key is not None:
        _certificates(tls.cert, cert)
        _show(context, tls.cert, tls.key, key)
    return TlsContext(context=context, ca=ca, cert=cert, key=key)


def _read(reference: str) -> bytes:
    try:
        return _path(reference).read_bytes()
    except OSError as error:
        raise CertificateError(
            f"{reference}: cannot be read ({type(error).__name__}); correct the path or its rights"
        ) from None


def _certificates(reference: str, content: bytes) -> str:
    """The certificates of a PEM file, all of them whole."""
    text = content.decode("latin-1")  # comments between them may be in any encoding
    blocks = list(_BLOCK.finditer(text))
    found = "\n".join(block[0] for block in blocks if block[1].endswith("CERTIFICATE"))
    whole = bool(found) and len(blocks) == text.count("-----BEGIN ")
    try:
        if whole:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ssl.SSLError, ValueError):
        whole = False
    if not whole:
        raise CertificateError(
            f"{reference}: is no certificate, or only a part of one; write whole ones into it, as PEM"
        )
    return found


def _show(context: ssl.SSLContext, cert: str, key: str, content: bytes) -> None:
    def no_passphrase() -> str:
        raise CertificateError(f"{key}: is locked with a passphrase; write the key without one")

    if not any(block[1].endswith("PRIVATE KEY") for block in _BLOCK.finditer(content.decode("latin-1"))):
        raise CertificateError(f"{key}: is no private key, or only a part of one; write a whole one into it, as PEM")
    try:
        context.load_cert_chain(_path(cert), _path(key), password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason in _MISMATCH:
            why = f"{key}: does not belong to {cert}; write a certificate and its own key"
        else:
            why = f"{key}, {cert}: cannot be used ({error.reason or 'not readable'}); write another key and certificate"
        raise CertificateError(why) from None
    except OSError as error:
        raise CertificateError(f"{key}, {cert}: cannot be read ({type(error).__name__}); correct the rights") from None
