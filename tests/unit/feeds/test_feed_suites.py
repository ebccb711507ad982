"""AWS and OpenCost keep the promises of `PriceSource`; sources that break one fail its test."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest

from comptroller.feeds.aws import AwsPrices, Boto
from comptroller.feeds.base import PriceSource, Quoted
from comptroller.feeds.opencost import OpenCostPrices
from comptroller.feeds.testing import PriceSourceConformance, Service
from comptroller.pricing import Fed
from comptroller.pricing.fed import FeedError, Fresh
from comptroller.pricing.rates import HourlyRates
from comptroller_api.pricelist import PriceListSpec

from .conftest import AwsConformance, OpenCostConformance


class TestAws(AwsConformance):
    pass


class TestOpenCost(OpenCostConformance):
    pass


class Changed(OpenCostPrices):
    """OpenCost; the broken sources differ from it in one thing."""

    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        quoted = super().quoted(spec, now)
        return lambda node_class: self.changed(quoted(node_class))

    def changed(self, fed: Fed) -> Fed:
        assert fed.on_demand is not None
        return replace(fed, on_demand=self.changed_price(fed.on_demand))

    def changed_price(self, fresh: Fresh) -> Fresh:
        return fresh


class PricesMinutes(Changed):
    def changed_price(self, fresh: Fresh) -> Fresh:
        gpu, cpu, memory = fresh.rates.gpu or 0, fresh.rates.cpu or 0, fresh.rates.memory_gib or 0
        return replace(fresh, rates=HourlyRates(gpu // 60, cpu // 60, memory // 60))


class LeavesMemoryOut(Changed):
    def changed_price(self, fresh: Fresh) -> Fresh:
        return replace(fresh, rates=replace(fresh.rates, memory_gib=None))


class AnswersFromTheFuture(Changed):
    def changed(self, fed: Fed) -> Fed:
        return replace(fed, as_of=fed.as_of + 3600)


class RisesTomorrow(Changed):
    def changed_price(self, fresh: Fresh) -> Fresh:
        return replace(fresh, since=fresh.since + 86_400)


class Remembers(Changed):
    kept: Quoted | None = None

    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        self.kept = self.kept or super().quoted(spec, now)
        return self.kept


class AnswersOldPrices(Changed):
    last: Quoted | None = None

    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        try:
            self.last = super().quoted(spec, now)
        except FeedError:
            if self.last is None:
                raise
        return self.last


class PricesAllOrNone(Changed):
    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        quoted = super().quoted(spec, now)
        found = {one.name: quoted(one) for one in spec.node_classes}
        return lambda node_class: found[node_class.name]


class PricesWhatIsUnknown(Changed):
    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        quoted = super().quoted(spec, now)
        return lambda _: quoted(spec.node_classes[0])


class FallsBackToTheCap(OpenCostPrices):
    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        try:
            return super().quoted(spec, now)
        except FeedError:
            return lambda one: Fed(now, Fresh(HourlyRates.of(one.cap), now), None)


class GivesNoReason(OpenCostPrices):
    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        try:
            return super().quoted(spec, now)
        except Exception as error:
            raise FeedError from error


class FollowsRedirects(OpenCostPrices):
    def __init__(self) -> None:
        def fetch(url: str, query: Mapping[str, str]) -> bytes:
            return httpx.get(url, params=dict(query), follow_redirects=True).raise_for_status().content

        super().__init__(fetch)


class ReadsToTheEnd(OpenCostPrices):
    def __init__(self) -> None:
        super().__init__(lambda url, query: httpx.get(url, params=dict(query)).raise_for_status().content)


class TakesEurosForDollars(AwsPrices):
    class Api(Boto):
        def products(self, region: str, instance_type: str) -> Iterator[str]:
            return (text.replace("EUR", "USD") for text in super().products(region, instance_type))

    def __init__(self) -> None:
        super().__init__(self.Api())


class ReadsEveryPage(AwsPrices):
    class Api(Boto):
        def _pages(self, region: str, service: str, call: str, **options: Any) -> Iterator[Mapping[str, Any]]:
            client: Any = self._session.client(service, region_name=region)  # type: ignore[call-overload]
            yield from client.get_paginator(call).paginate(**options)

    def __init__(self) -> None:
        super().__init__(self.Api())


class QuotesTheRequest(AwsPrices):
    class Api(Boto):
        def _without_secrets(self, text: str) -> str:
            return text

    def __init__(self) -> None:
        super().__init__(self.Api())


UNITS = "test_rates_are_of_one_hour_and_add_up_to_the_machines_price"
RATES = "test_each_resource_that_the_cap_charges_for_has_a_rate"
FUTURE = "test_an_answer_is_not_of_the_future"
AGAIN = "test_every_read_requests_the_prices_again"
UNKNOWN = "test_a_class_that_is_not_known_has_no_price_and_takes_none_away"
CURRENCY = "test_a_price_in_another_currency_is_no_price"
AMOUNT = "test_an_amount_that_cannot_be_a_price_is_no_price"
FORM = "test_an_answer_of_another_form_is_no_price"
REASON = "test_a_failure_has_a_reason_and_names_the_source_the_list_and_the_class"
REDIRECT = "test_a_redirect_is_not_followed"
LONG = "test_an_answer_that_is_too_long_is_refused"
ENDLESS = "test_an_answer_without_end_is_given_up"
SECRET = "test_no_secret_is_shown"


BROKEN: list[tuple[type[PriceSourceConformance], type[PriceSource], str]] = [
    (OpenCostConformance, PricesMinutes, UNITS),
    (OpenCostConformance, LeavesMemoryOut, RATES),
    (OpenCostConformance, AnswersFromTheFuture, FUTURE),
    (OpenCostConformance, RisesTomorrow, FUTURE),
    (OpenCostConformance, Remembers, AGAIN),
    (OpenCostConformance, AnswersOldPrices, AGAIN),
    (OpenCostConformance, PricesAllOrNone, UNKNOWN),
    (OpenCostConformance, PricesWhatIsUnknown, UNKNOWN),
    (AwsConformance, TakesEurosForDollars, CURRENCY),
    (OpenCostConformance, FallsBackToTheCap, AMOUNT),
    (OpenCostConformance, FallsBackToTheCap, FORM),
    (OpenCostConformance, GivesNoReason, REASON),
    (OpenCostConformance, FollowsRedirects, REDIRECT),
    (OpenCostConformance, ReadsToTheEnd, LONG),
    (AwsConformance, ReadsEveryPage, ENDLESS),
    (AwsConformance, QuotesTheRequest, SECRET),
]


@pytest.mark.parametrize(("suite", "source", "test"), BROKEN)
def test_a_broken_promise_fails_its_test(
    service: Service, suite: type[PriceSourceConformance], source: type[PriceSource], test: str
) -> None:
    class Suite(suite):  # type: ignore[valid-type, misc]
        def source(self, _: Service) -> PriceSource:
            return source()

    with pytest.raises(AssertionError):
        getattr(Suite(), test)(service)


def test_each_promise_has_a_source_that_breaks_it() -> None:
    promised = {name for name in vars(PriceSourceConformance) if name.startswith("test_")}
    assert {test for _, _, test in BROKEN} == promised
