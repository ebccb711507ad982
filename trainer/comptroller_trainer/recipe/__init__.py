"""A trial's parameters: read from the assignment into stages, described for `lint`, listed for people."""
