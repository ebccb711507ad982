"""A curriculum begins with the easy samples."""

from comptroller_trainer.selection.curriculum import Curriculum
from support.selection import fitted, table


def test_a_curriculum_goes_from_easy_to_all() -> None:
    samples, wrong = table(noisy=60)
    selector = fitted(Curriculum, samples, keep=0.5)
    found = [selector.select(epoch).indices for epoch in range(8)]
    assert [len(indices) for indices in found] == [180, 285] + [300] * 6
    assert wrong[found[0]].sum() == 0
    assert wrong[found[-1]].sum() > 15
    hard = fitted(Curriculum, samples, keep=0.1, order="hard_first").select(0).indices
    assert wrong[hard].float().mean() > 0.2
