"""Prices: what a second of a pod costs at most, and what a finished attempt cost. Integers throughout."""

from comptroller.pricing.book import PriceBook, Quote, Unpriced
from comptroller.pricing.fed import Fed, Feed, Unfed

__all__ = ["Fed", "Feed", "PriceBook", "Quote", "Unfed", "Unpriced"]
