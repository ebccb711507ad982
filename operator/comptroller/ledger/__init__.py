"""The ledger: an append-only, hash-chained journal and the fold that says what is valid in it."""
