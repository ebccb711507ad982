"""The protocol of price feeds."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from comptroller.pricing import Fed
from comptroller_api.pricelist import NodeClass, PriceListSpec

Quoted: TypeAlias = Callable[[NodeClass], Fed]
"""The prices of one read, by node class.

Raises:
    FeedError: the source has no price for the class that could be used.
"""


class PriceSource(Protocol):
    """A service that prices node classes; `comptroller.feeds.testing` has its conformance suite.

    * Prices are micro-units of the list's currency for one GPU, core or GiB and an hour. A source that states
      another currency, or an amount that cannot be a price, has no price.
    * Every resource that the class's cap charges for has a rate, so that nothing becomes free by an omission.
    * Each read requests the prices again, and nothing is kept between reads: `Feeds` keeps the last answer,
      whose age counts from `Fed.as_of`. That time is the read's or an earlier one, never a later one.
    * A read ends, whatever the service sends: the number of requests and of bytes is bounded, and no redirect
      is followed.
    * A class that the service does not know has no price, and takes no other class's price away.
    * Any exception means that there is no price. Its message is for the person who wrote the list: the
      condition of the list and the operator's log have it, so it contains no credentials.
    """

    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        """Read what all node classes of a list share, and return the prices by class.

        Blocks while requests are under way, as the returned function may do too.

        Args:
            spec: the list, with the source's terms in the field that `FEEDS` names.
            now: unix seconds.

        Raises:
            FeedError: no class of the list has a price.
        """
        ...
