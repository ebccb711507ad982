"""Data sets: where they are, how they are split, what a trial sees of them."""
