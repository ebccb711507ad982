"""Prices in the books: the price that a lease was sized and is billed by stays known forever."""

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Price
from comptroller.pricing import Quote


def price_key(node_class: str, currency: str) -> str:
    """The name of a price in the books."""
    return f"{node_class}/{currency}"


def _rates(quote: Quote) -> dict[str, int]:
    return quote.rates.written(quote.capacity) | quote.cap.written("Cap")


def says(price: Price, quote: Quote) -> bool:
    """Return whether an entry of the books has the rates of `quote`."""
    return price.rates == price.rates | _rates(quote)


def same_cap(price: Price, quote: Quote) -> bool:
    """Return whether leases have the same sizes as under an entry of the books."""
    return all(
        rate == price.rates.get(name) for name, rate in _rates(quote).items() if name.startswith("Cap.")
    )


def missing_price(books: Books, quote: Quote, now: int) -> Price | None:
    """The entry that makes `quote` durable, unless the books have it.

    It is charged from the moment that the list names, or from now where that is no newer than before.
    """
    key = price_key(quote.node_class, quote.currency)
    known = books.prices.get(key)
    if known and says(known, quote):
        return None
    rates = (dict(known.rates) if known else {}) | _rates(quote)
    revision = known.revision + 1 if known else 0
    since = min(quote.since, now)
    if known is not None:
        since = since if since > known.since else max(known.since, now)  # never from before the last one
    return Price(node_class=key, revision=revision, currency=quote.currency, rates=rates, since=since)
