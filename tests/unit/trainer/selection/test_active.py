"""Active learning reads only the labels that it has bought."""

import pytest
import torch

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.selection.active import Active
from support.selection import COUNT, fitted, table


@pytest.mark.parametrize("acquire", ["margin", "entropy", "least_confidence", "k_center"])
def test_active_learning_reads_no_label_that_it_has_not_bought(acquire: str) -> None:
    samples, _ = table()
    bought = fitted(Active, samples, keep=0.1, acquire=acquire).indices_
    assert len(bought) == 60
    hidden = torch.full((COUNT,), 10**6)  # no class: reading one of these fails
    hidden[bought] = samples.labels[bought]
    again = fitted(Active, Samples(samples.inputs, hidden), keep=0.1, acquire=acquire)
    assert torch.equal(again.indices_, bought)


@pytest.mark.parametrize(
    "given",
    [
        {"recipe.class_weights": "balanced"}, {"recipe.oversample": "smote"},
        {"compress.method": "prune+tune", "compress.importance": "taylor"},
    ],
)  # fmt: skip
def test_nothing_else_reads_labels_that_were_not_bought(given: dict[str, str]) -> None:
    parse(given)
    field = list(given)[-1]
    with pytest.raises(AssignmentError, match=f"{field}: .* and data.selector 'active' buys a part"):
        parse(given | {"data.selector": "active"})


def test_pseudo_labels_are_what_a_proxy_is_sure_of_and_read_no_other_label() -> None:
    samples, _ = table()
    bought = fitted(Active, samples, keep=0.1, proxy_epochs=20).indices_
    hidden = torch.full((COUNT,), 10**6)
    hidden[bought] = samples.labels[bought]
    found = {
        pseudo: fitted(Active, Samples(samples.inputs, hidden), keep=0.1, pseudo=pseudo, proxy_epochs=20)
        for pseudo in (0.6, 0.95)
    }
    counts = []
    for selector in found.values():
        pseudo = selector.pseudo_labels_
        assert pseudo is not None
        own = selector.indices_[~torch.isin(selector.indices_, pseudo.indices)]
        assert len(own) == 60
        assert len(selector.indices_) == 60 + len(pseudo.indices)
        assert (pseudo.labels == samples.labels[pseudo.indices]).float().mean() > 0.7
        counts.append(len(pseudo.indices))
    assert counts[0] > counts[1] > 0
    assert fitted(Active, samples, keep=0.1).pseudo_labels_ is None
