"""Prices: what a second of a pod costs at most, and what a finished attempt cost. Integers throughout."""

from comptroller.pricing.book import PriceBook, Quote, Shelf, Unpriced
from comptroller.pricing.fed import Fed, Feed, Unfed

__all__ = ["Fed", "Feed", "PriceBook", "Quote", "Shelf", "Unfed", "Unpriced"]
