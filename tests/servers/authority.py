"""A certificate authority of the tests' own, made anew for each run."""

import ssl
from functools import cache

import trustme

__all__ = ["client_context", "server_context"]


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def server_context() -> ssl.SSLContext:
    """For a server on localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    """For a client that trusts this authority alone."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context
