"""The links of a fleet, each through a proxy that can break it."""

from urllib.parse import urlsplit

from tests.servers.proxy import Proxy

__all__ = ["Links", "port_of", "through"]


def port_of(url: str) -> int:
    """The port of a URL.

    Raises:
        AssertionError: it names none.
    """
    port = urlsplit(url).port
    assert port is not None, "the URL of a server of the tests has a port"
    return port


def through(url: str, port: int) -> str:
    """The same URL by way of a proxy's port."""
    return url.replace(f":{port_of(url)}", f":{port}", 1)


class Links:
    """Four proxies: workers and the producer, each to the broker and to the result store.

    Args:
        broker: URL of the broker.
        store: URL of the result store.

    Attributes:
        worker_broker, worker_store: what the workers' connections go through.
        producer_broker, producer_store: what the producer's go through.
    """

    def __init__(self, broker: str, store: str) -> None:
        self.worker_broker = Proxy(port_of(broker))
        self.worker_store = Proxy(port_of(store))
        self.producer_broker = Proxy(port_of(broker))
        self.producer_store = Proxy(port_of(store))

    def close(self) -> None:
        """Cut all."""
        for proxy in (self.producer_broker, self.producer_store, self.worker_broker, self.worker_store):
            proxy.close()
