"""Measurements of the exported artifact: quality, latency, memory, size (P9)."""
