"""Conformance tests of price feeds, and a service on this machine that they read from.

`PriceSourceConformance` is a class of tests for pytest. Subclass it, give it a fixture `service`, a running
`Service`, and set what to test.
"""
# ruff: noqa: S101 - pytest's way to say what must hold

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from structlog.testing import capture_logs

from comptroller.feeds.base import PriceSource
from comptroller.feeds.reader import Feeds
from comptroller.plan.listed import price_list_status
from comptroller.pricing import Fed, Unfed
from comptroller.pricing.rates import HourlyRates
from comptroller_api import quantity
from comptroller_api.money import to_micro
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources

NOW = 1_900_000_000
"""The time of the reads, in unix seconds."""
KNOWN, UNKNOWN = "known", "unknown"
"""The node class that the service prices, and the one that it does not know."""
_HOUR = 3600
_MOST_REQUESTS = 250
"""The requests of one read at most."""
_SPACES, _PART = 64 * 2**20, 2**20
"""Bytes of an answer that is too long, and of each of its parts."""
_NO_PRICES = ("NaN", "Infinity", "-1", "1e400", "free", "")
_NO_ANSWERS = (b"", b"<html>busy</html>", b"{}", b"[]", b"null", b"7", b'{"a":', b"\xff", b"[" * 100_000)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the service got."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the service."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    spaces: int = 0
    """Bytes of white space that are sent before the body."""


class Service:
    """An HTTP server on this machine in the place of a price service; a context manager."""

    def __init__(self) -> None:
        """Bind a free port."""
        self.requests: list[Request] = []
        """The requests so far."""
        self.answer: Callable[[Request], Reply] = lambda _: Reply(b"", 500)
        """The reply to a request."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Serve in a thread."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def reply(self, request: Request) -> Reply:
        """Note a request and return the reply; a client that never stops gets no more answers."""
        self.requests.append(request)
        return self.answer(request) if len(self.requests) <= _MOST_REQUESTS else Reply(b"", 410)


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where, length = urlsplit(self.path), int(self.headers.get("Content-Length", 0))
            query = {name: values[-1] for name, values in parse_qs(where.query).items()}
            reply = service.reply(Request(where.path, query, dict(self.headers), self.rfile.read(length)))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(reply.spaces + len(reply.body)))
            self.end_headers()
            try:
                for _ in range(reply.spaces // _PART):
                    self.wfile.write(b" " * _PART)
                self.wfile.write(reply.body)
            except ConnectionError:
                self.close_connection = True  # a client that has read enough

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class PriceSourceConformance:
    """Tests of one source. A subclass has a fixture `service`, implements the methods, and sets the rest."""

    name: ClassVar[str]
    """The source in price lists."""
    machine: ClassVar[Resources]
    """The machine of node class `known`."""
    states_currency: ClassVar[bool] = True
    """False if the service's answers do not state their currency."""
    paged: ClassVar[bool] = True
    """False if one request has all prices."""
    limits_bodies: ClassVar[bool] = True
    """False if a library reads the bodies to their ends, from a service that is trusted to end them."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """The credentials of the requests."""

    def source(self, service: Service) -> PriceSource:
        """Return a new source, which reads from `service.url`."""
        raise NotImplementedError

    def prices(self, service: Service) -> PriceList:
        """Return a list in USD with the node classes `known` and `unknown`, in this order."""
        raise NotImplementedError

    def reply(self, request: Request, hourly: str) -> Reply:
        """Return the service's reply when a machine of `known` costs `hourly` USD an hour.

        A text that is no number takes the place of an amount. `unknown` is not known.
        """
        raise NotImplementedError

    def reply_in_another_currency(self, request: Request) -> Reply:
        """Return a reply that prices `known` in euros only."""
        raise NotImplementedError

    def reply_with_more(self, request: Request, number: int) -> Reply:
        """Return page `number` of an answer without end, in which no page has a price."""
        raise NotImplementedError

    def refusal(self, request: Request, message: str) -> Reply:
        """Return the service's refusal of a request."""
        del request
        return Reply(message.encode(), 403)

    # -- reading -------------------------------------------------------------------------------------------

    def read(self, service: Service, source: PriceSource | None = None, at: int = NOW) -> Fed | Unfed:
        """Return the answer for `known`, read by `source` or a new one."""
        return self.all_read(service, source, at)[KNOWN]

    def all_read(
        self, service: Service, source: PriceSource | None = None, at: int = NOW
    ) -> dict[str, Fed | Unfed]:
        """Return the answers by node class."""
        prices = self.prices(service)
        feeds = Feeds(lambda: at, {self.name: source or self.source(service)})
        feeds.refresh([prices])
        return {node_class: answer for (_, node_class), answer in feeds.feed.items()}

    def priced(self, service: Service, hourly: str, source: PriceSource | None = None) -> int:
        """Return the micro-units of an hour of the machine when it costs `hourly`, by the source's rates."""
        service.answer = lambda request: self.reply(request, hourly)
        found = self.read(service, source)
        assert isinstance(found, Fed), found
        assert found.on_demand is not None
        return found.on_demand.rates.cost(self.machine, _HOUR)

    # -- tests ---------------------------------------------------------------------------------------------

    def test_rates_are_of_one_hour_and_add_up_to_the_machines_price(self, service: Service) -> None:
        # Each unit's rate is rounded to a micro-unit.
        units = self.machine.gpu + quantity.milli(self.machine.cpu) // 1000
        units += quantity.whole(self.machine.memory) // 2**30
        for hourly in ("98.32", "0.5", "7"):
            assert abs(self.priced(service, hourly) - to_micro(hourly)) <= units + 1, hourly

    def test_each_resource_that_the_cap_charges_for_has_a_rate(self, service: Service) -> None:
        service.answer = lambda request: self.reply(request, "98.32")
        found = self.read(service)
        assert isinstance(found, Fed), found
        cap = HourlyRates.of(self.prices(service).spec.node_classes[0].cap)
        for fresh in filter(None, (found.on_demand, found.spot)):
            rates = fresh.rates
            pairs = ((rates.gpu, cap.gpu), (rates.cpu, cap.cpu), (rates.memory_gib, cap.memory_gib))
            assert all(rate is not None for rate, limit in pairs if limit is not None), rates
            assert rates.cost(self.machine, _HOUR) > 0

    def test_an_answer_is_not_of_the_future(self, service: Service) -> None:
        for at in (NOW, NOW + 5 * _HOUR):
            service.answer = lambda request: self.reply(request, "98.32")
            found = self.read(service, at=at)
            assert isinstance(found, Fed), found
            assert 0 < found.as_of <= at, "an answer from the future never becomes stale"
            assert all(fresh.since <= at for fresh in (found.on_demand, found.spot) if fresh is not None)

    def test_every_read_requests_the_prices_again(self, service: Service) -> None:
        source = self.source(service)
        first, second = (self.priced(service, hourly, source) for hourly in ("10", "20"))
        assert first < second
        service.answer = lambda request: self.refusal(request, "no")
        assert isinstance(self.read(service, source), Unfed), "an old price was given for the present one"

    def test_a_class_that_is_not_known_has_no_price_and_takes_none_away(self, service: Service) -> None:
        service.answer = lambda request: self.reply(request, "98.32")
        found = self.all_read(service)
        assert isinstance(found[KNOWN], Fed), found
        assert isinstance(found[UNKNOWN], Unfed), found

    def test_a_price_in_another_currency_is_no_price(self, service: Service) -> None:
        if self.states_currency:
            service.answer = self.reply_in_another_currency
            assert isinstance(self.read(service), Unfed)

    def test_an_amount_that_cannot_be_a_price_is_no_price(self, service: Service) -> None:
        for text in _NO_PRICES:
            service.answer = lambda request, text=text: self.reply(request, text)  # type: ignore[misc]
            assert isinstance(self.read(service), Unfed), text

    def test_an_answer_of_another_form_is_no_price(self, service: Service) -> None:
        for body in _NO_ANSWERS:
            service.answer = lambda _, body=body: Reply(body)  # type: ignore[misc]
            assert isinstance(self.read(service), Unfed), body[:20]

    def test_a_failure_has_a_reason_and_names_the_source_the_list_and_the_class(
        self, service: Service
    ) -> None:
        prices = self.prices(service)
        for reply in (lambda r: self.refusal(r, "no"), lambda _: Reply(b"{}"), lambda _: Reply(b"", 404)):
            service.answer = reply
            feeds = Feeds(lambda: NOW, {self.name: self.source(service)})
            with capture_logs() as logs:
                feeds.refresh([prices])
            found = feeds.feed[prices.metadata.name, KNOWN]
            assert isinstance(found, Unfed)
            assert found.why.strip(), "no reason is given"
            (entry, *_) = [one for one in logs if one.get("node_class") == KNOWN]
            assert (entry["source"], entry["list"]) == (self.name, prices.metadata.name)
            message = _condition(prices, feeds)
            for part in (self.name, prices.metadata.name, KNOWN, found.why[:40]):
                assert part in message, (part, message)

    def test_a_redirect_is_not_followed(self, service: Service) -> None:
        def answer(request: Request) -> Reply:
            if request.path == "/elsewhere":
                return self.reply(request, "98.32")
            return Reply(b"", 302, {"Location": f"{service.url}/elsewhere"})

        service.answer = answer
        assert isinstance(self.read(service), Unfed)
        assert "/elsewhere" not in {request.path for request in service.requests}

    def test_an_answer_that_is_too_long_is_refused(self, service: Service) -> None:
        def answer(request: Request) -> Reply:
            reply = self.reply(request, "98.32")
            return Reply(reply.body, reply.status, reply.headers, _SPACES)

        if self.limits_bodies:
            service.answer = answer
            assert isinstance(self.read(service), Unfed)

    def test_an_answer_without_end_is_given_up(self, service: Service) -> None:
        if self.paged:
            service.answer = lambda request: self.reply_with_more(request, len(service.requests))
            assert isinstance(self.read(service), Unfed)
            assert len(service.requests) <= _MOST_REQUESTS, "it never stopped requesting more"

    def test_no_secret_is_shown(self, service: Service) -> None:
        def answer(request: Request) -> Reply:
            sent = [*request.headers.values(), *request.query.values(), request.body.decode()]
            return self.refusal(request, " ".join(["the request was:", *sent, *self.secrets]))

        service.answer, prices = answer, self.prices(service)
        feeds = Feeds(lambda: NOW, {self.name: self.source(service)})
        with capture_logs() as logs:
            feeds.refresh([prices])
        shown = f"{logs} {dict(feeds.feed)} {_condition(prices, feeds)}"
        for secret in self.secrets:
            assert secret not in shown, "a secret is in the log or in the list's condition"


def _condition(prices: PriceList, feeds: Feeds) -> str:
    return price_list_status(prices, [prices], feeds.feed, NOW).conditions[0].message
