"""Where tokens are fetched is guarded as the service itself is."""

import pytest

from gateway import Catalogue
from gateway.catalogue import CatalogueError
from gateway.errors import CallRejectedError, Delivery
from gateway.network import Network
from gateway.outcome import Failure
from gateway.policy import Timeouts
from tests.hostile.recorder import Recorder
from tests.servers.names import Names
from workers.auth import Posted
from workers.token_endpoint import TokenEndpoint


@pytest.mark.parametrize(
    ("allow", "address", "arrives"),
    [((), "127.0.0.1", False), (("private",), "169.254.169.254", False), (("loopback",), "127.0.0.1", True)],
)
async def test_a_name_leads_no_further_than_the_services_may(
    allow: tuple[str, ...], address: str, arrives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, {"tokens.example": [address]})
    recorder = Recorder()
    url = f"http://tokens.example:{recorder.port}/token"
    tokens = TokenEndpoint("users", url, Timeouts(), Network(allow=allow))
    posted = await tokens.post({"grant_type": "client_credentials"}, {}, 3.0)
    await tokens.close()
    recorder.close()
    if arrives:
        assert isinstance(posted, Posted)
    else:
        assert isinstance(posted, Failure)
        assert (posted.error, posted.delivery, posted.repeatable) == (CallRejectedError, Delivery.NOT_SENT, False)
    assert len(recorder.heads) == arrives


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "metadata.google.internal", "[fd00:ec2::254]"])
def test_a_catalogue_that_fetches_tokens_from_metadata_is_refused(host: str) -> None:
    auth = {"type": "oauth2", "token_url": f"http://{host}/token", "client_id": "me", "secret": "env:SECRET"}
    document = {"services": {"users": {"rest": {"url": "http://users"}, "auth": auth}}}
    with pytest.raises(CatalogueError, match=r"auth\.token_url"):
        Catalogue.parse(document, environ={})
