"""Price feeds: the services that price lists read their prices from, and the reader of all of them.

A source is one file of this package, a `PriceSource`, and one line of `SOURCES`.
"""

from comptroller.feeds.base import PriceSource, Quoted
from comptroller.feeds.reader import Feeds
from comptroller.feeds.sources import SOURCES

__all__ = ["SOURCES", "Feeds", "PriceSource", "Quoted"]
