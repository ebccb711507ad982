"""Each place in a trial has a seed of its own."""

from comptroller_trainer import seeds


def test_places_have_their_own_seeds() -> None:
    found = {seeds.derive(s, *place) for s in (0, 1) for place in (("a", 1), ("a", 2), ("b", 1), ("a",))}
    assert len(found) == 8
    assert all(0 <= seed < 2**63 for seed in found)
