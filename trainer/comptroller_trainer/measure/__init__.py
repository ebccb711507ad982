"""What the exported artifact is worth: quality, latency, memory, size (P9)."""
