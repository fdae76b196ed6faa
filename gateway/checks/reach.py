"""Whether broker and result store answer, and if not, what may be the reason."""

import ssl
import time
from collections.abc import Callable

import redis
from redis.sentinel import MasterNotFoundError

from gateway.checks.finding import Finding, Level
from gateway.checks.redis_report import RedisReport
from gateway.redis_address import AddressError, split_urls
from gateway.redis_client import ERRORS

__all__ = ["not_reached", "reach_redis"]

_AGAIN_S = 0.2
_NO_ANSWER: tuple[type[Exception], ...] = (AddressError, *ERRORS)


def reach_redis(
    what: str, variable: str, url: str, *, patience_s: float, wall: Callable[[], float] = time.time
) -> RedisReport | Finding:
    """The report of a Redis, or why there is none.

    Args:
        what: `broker` or `result store`.
        variable: that has the URL.
        url: of the server; of a list the first that answers.
        patience_s: for how long a server that does not answer is asked again.
        wall: this host's clock.
    """
    ends_at = time.monotonic() + patience_s
    urls = [url] if url.startswith("sentinel:") else split_urls(url)
    while True:
        for one in urls:
            try:
                report = RedisReport.read(one, wall=wall)
            except _NO_ANSWER as error:
                finding = not_reached(what, variable, error)
            except (TypeError, ValueError, LookupError) as error:
                # Of the client that is made of it: an option that is not known, a database that is no number.
                return Finding(
                    level=Level.ERROR,
                    what=what,
                    found=f"its URL cannot be used ({type(error).__name__}: {error})",
                    cure=f"correct the database and the options in {variable}",
                )
            else:
                unfit = _unfit(what, variable, report)
                if unfit is None:
                    return report
                finding = unfit
        if time.monotonic() + _AGAIN_S > ends_at:
            return finding
        time.sleep(_AGAIN_S)


def not_reached(what: str, variable: str, error: Exception) -> Finding:
    """Why a server did not answer, as far as the error tells."""
    found, cure = f"does not answer ({_said(error)})", f"start it, or correct {variable}"
    if _is_of(error, redis.AuthenticationError) or "ACCESS_REFUSED" in str(error):
        found, cure = f"refuses the login ({_said(error)})", f"correct user and password in {variable}"
    elif _is_of(error, ssl.SSLError) or "SSL" in str(error):
        cure = (
            f"set ssl_ca_certs in {variable} to the authority that signed its certificate, and use rediss:// where"
            " the server has TLS"
        )
        found = f"TLS fails ({_said(error)})"
    elif _is_of(error, MasterNotFoundError):
        # The error has a page of what none of them said.
        found = "its Sentinels name no master, or none of them answers"
        cure = f"start them, or correct master_name in {variable}"
    return Finding(level=Level.ERROR, what=what, found=found, cure=cure)


def _unfit(what: str, variable: str, report: RedisReport) -> Finding | None:
    if report.loading:
        return Finding(
            level=Level.ERROR, what=what, found="still reads its data from the disk", cure="wait until it has"
        )
    if report.role == "slave":
        return Finding(
            level=Level.ERROR,
            what=what,
            found="is a replica, which takes no calls and no results",
            cure=f"set {variable} to its master, or to Sentinels (sentinel://)",
        )
    return None


def _is_of(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error, or one that it came from, is of a kind."""
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def _said(error: Exception) -> str:
    """One line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
