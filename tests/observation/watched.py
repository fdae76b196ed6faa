"""A worker whose port is watched, with a service that counts what arrives."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway import Catalogue, Gateway, Settings
from gateway.dev.valkey import Valkey
from tests.servers.counting import CountingService
from tests.servers.worker import Worker

__all__ = ["Watched"]


class Watched:
    """All of it, until it is left.

    Args:
        folder: takes logs and the catalogue.
        catalogue: its text; `${COUNTING_URL}` is the service.
        arguments: of the worker's command line.
        environ: more of the worker's environment.
    """

    def __init__(self, folder: Path, catalogue: str, *, arguments: Sequence[str] = (), **environ: str) -> None:
        (folder / "valkey").mkdir()
        self.valkey = Valkey(folder / "valkey")
        self.service = CountingService(folder)
        config = folder / "gateway.toml"
        config.write_text(catalogue)
        self.environ = {
            "GATEWAY_BROKER_URL": self.valkey.url(0),
            "GATEWAY_RESULT_URL": self.valkey.url(1),
            "GATEWAY_CONFIG": str(config),
            "COUNTING_URL": self.service.url,
            "GATEWAY_WORKER_ADDRESS": "127.0.0.1:0",
            **environ,
        }
        self.folder = folder
        self.worker = Worker("workers.app", folder, env=self.environ, concurrency=200, arguments=arguments)
        self.gateway = Gateway(Settings.from_env(self.environ), Catalogue.load(config))

    @property
    def url(self) -> str:
        """Of the worker's port."""
        said = re.search(r"metrics and health on (http://\S+)", self.worker.output())
        assert said is not None, self.worker.output()
        return said[1]

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and text of one of its pages."""
        request = urllib.request.Request(self.url + path, headers=headers)  # noqa: S310 - of the loopback
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - as it
                return int(answer.status), str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, str(refused.read().decode())

    def health(self, path: str) -> tuple[int, Any]:
        """Status of a health page, and its reasons."""
        status, text = self.get(path)
        return status, json.loads(text)["reasons"]

    def metrics(self) -> dict[str, Metric]:
        """What is exposed, by name."""
        return {family.name: family for family in text_string_to_metric_families(self.get("/metrics")[1])}

    def values(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The samples of one name, by their labels."""
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in self.metrics().values()
            for sample in family.samples
            if sample.name == name
        }

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = set(labels.items())
        return sum(value for found, value in self.values(name).items() if wanted <= set(found))

    def close(self) -> None:
        """Stop all of it."""
        self.gateway.close()
        self.worker.process.stop()
        self.service.stop()
        self.valkey.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
