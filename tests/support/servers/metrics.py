"""Reads the metrics of a server at its admin address."""

from __future__ import annotations

import asyncio
import http.client
import time

from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers.server import ServerProcess

ADMIN = {"HEADWATER_ADMIN_ADDRESS": "127.0.0.1:0"}

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def port_of(server: ServerProcess) -> int:
    """The port of its admin address. The server writes its log on a thread, so the line may still be on its way."""
    limit = time.monotonic() + 20
    while not (ports := [event["port"] for event in server.events if event["event"] == "admin"]):
        assert time.monotonic() < limit, server.log
        time.sleep(0.01)
    return int(ports[0])


async def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def scrape(port: int) -> Series:
    """All series of `/metrics`, as Prometheus's own parser reads them."""
    status, text = await get(port, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def total(series: Series, name: str, **labels: str) -> float:
    """The sum over all processes, and over the labels that are not named."""
    return sum(value for (found, has), value in series.items() if found == name and has >= set(labels.items()))


async def counted(port: int, name: str, value: float, **labels: str) -> None:
    """Waits until it is counted, which happens after the caller has its answer; fails at any other number."""
    async with asyncio.timeout(20):
        while (found := total(await scrape(port), name, **labels)) < value:
            await asyncio.sleep(0.01)
    assert found == value
