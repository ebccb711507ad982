"""The costs of a model are those that counting by hand gives."""

import torch
from torch import nn

from comptroller_trainer.models.base import Classifier
from comptroller_trainer.models.convolutional import Cnn, ConvolutionalParameters
from comptroller_trainer.models.profile import ModelProfile, profile
from comptroller_trainer.models.recurrent import Gru, GruParameters
from comptroller_trainer.models.transformer import Attention, TransformerParameters


def test_a_perceptron() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    # Kept: the input of each layer; the ReLU's output is the second one's.
    expected = ModelProfile(12 * 5 + 5 + 5 * 3 + 3, 12 * 5 + 5 * 3, 4 * (12 + 5))
    assert profile(model, (3, 4)) == expected


def test_a_convolutional_network() -> None:
    family = Cnn(ConvolutionalParameters(width=4, depth=2))
    found = profile(family.build((1, 8, 8), 3), (1, 8, 8))
    assert found.macs == 64 * 9 * 4 + 16 * 9 * 4 * 8 + 8 * 3
    assert found.parameters == 9 * 4 + 2 * 4 + 9 * 4 * 8 + 2 * 8 + 8 * 3 + 3
    # Input; conv, ReLU (of 4 channels), pooled and its indices (8 bytes); conv, ReLU (of 8); the mean.
    floats = 64 + 2 * 4 * 64 + 4 * 16 + 2 * 8 * 16 + 8
    assert found.activation_bytes == 4 * floats + 8 * 4 * 16


def test_attention_grows_with_the_square_of_the_tokens() -> None:
    p = TransformerParameters(width=8, heads=2)
    for tokens in (3, 6):
        products = tokens * 8 * 24 + tokens * 8 * 8  # in and out
        scores = 2 * tokens * tokens * 8
        assert profile(Attention(p), (tokens, 8)).macs == products + scores


def test_a_recurrent_network_is_counted_at_every_step() -> None:
    family = Gru(GruParameters(width=4, directions=1, pool="last"))
    found = profile(family.build((2, 10), 3), (2, 10))
    assert found.macs == 10 * 3 * 4 * (2 + 4) + 4 * 3


def test_what_is_frozen_is_counted_but_keeps_nothing() -> None:
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    model[0].requires_grad_(requires_grad=False)
    assert profile(model, (8,)) == ModelProfile(8 * 6 + 6 + 6 * 2 + 2, 8 * 6 + 6 * 2, 4 * 6)


def test_counting_changes_nothing() -> None:
    torch.manual_seed(0)
    family = Cnn(ConvolutionalParameters(width=4, depth=2, dropout=0.5))
    model = Classifier(family.build((1, 8, 8), 3), torch.zeros(1), torch.ones(1), (1, 8, 8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    first = profile(model.train(), (1, 8, 8))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert profile(model.eval(), (1, 8, 8)) == first
    assert not model.training
