"""The cost of a reply is that of all its attempts whose tokens are known, by the prices that it began with."""

from __future__ import annotations

from decimal import Decimal

import pytest

from headwater_server.domain.chunks import Delta, Finish, FinishReason, Usage
from headwater_server.domain.costs.prices import Price, PriceTable
from headwater_server.domain.errors import Reason
from headwater_server.telemetry.metrics import Metrics
from tests.support.services.attempts import Calls, PlannedProvider, fails
from tests.support.services.resumable import in_virtual_time

PRICES = {"a/m": Price(Decimal(10), Decimal(20)), "b/*": Price(Decimal("0.5"), Decimal(2))}
REFUSED = [Finish(FinishReason.REFUSAL, usage=Usage(100, 10, 110))]
ANSWERED = [Delta(content="Hello"), Finish(FinishReason.STOP, usage=Usage(1000, 100, 1100))]


def costs(metrics: Metrics) -> dict[str, float]:
    families = [family for family in metrics.registry.collect() if family.name == "headwater_cost"]
    return {sample.labels["provider"]: sample.value for family in families for sample in family.samples}


@in_virtual_time
async def test_a_refused_attempt_is_paid_too_and_counted_for_its_own_model():
    metrics, refusing, answering = Metrics(), PlannedProvider("a", REFUSED), PlannedProvider("b", ANSWERED)
    prices = PriceTable(PRICES)
    calls = Calls(refusing, answering, falls_back_on_refusal=True, prices=prices, metrics=metrics)
    answered = await calls.ask(fallback_models=["b/m"])
    assert answered.final.cost == Decimal("0.0012") + Decimal("0.0007")
    assert costs(metrics) == {"a": 0.0012, "b": 0.0007}


@in_virtual_time
async def test_an_attempt_that_failed_before_it_reported_tokens_costs_nothing():
    metrics, failing = Metrics(), PlannedProvider("a", fails(Reason.PROVIDER_UNAVAILABLE), ANSWERED)
    answered = await Calls(failing, prices=PriceTable(PRICES), metrics=metrics).ask(max_attempts=2)
    assert (answered.final.cost, costs(metrics)) == (Decimal("0.012"), {"a": 0.012})


@pytest.mark.parametrize(
    ("prices", "plan"),
    [({}, ANSWERED), ({"b/*": PRICES["b/*"]}, ANSWERED), (PRICES, [Delta(content="x"), Finish(FinishReason.STOP)])],
    ids=["no table", "of another model", "no tokens reported"],
)
def test_without_a_price_or_tokens_there_is_no_cost(prices, plan):
    @in_virtual_time
    async def test():
        metrics = Metrics()
        answered = await Calls(PlannedProvider("a", plan), prices=PriceTable(prices), metrics=metrics).ask()
        assert (answered.final.cost, costs(metrics)) == (None, {})

    test()


@in_virtual_time
async def test_there_is_no_cost_where_one_of_the_attempts_has_no_price():
    refusing, answering = PlannedProvider("a", REFUSED), PlannedProvider("b", ANSWERED)
    table = PriceTable({"b/*": PRICES["b/*"]})
    answered = await Calls(refusing, answering, falls_back_on_refusal=True, prices=table).ask(fallback_models=["b/m"])
    assert answered.final.cost is None
