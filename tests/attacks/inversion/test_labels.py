"""Labels out of the last layer's gradient: certain for one example, estimated for a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secagg_attacks.data.digits import digits
from secagg_attacks.images.matching import label_accuracy
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.labels import count_labels, distinct_labels, recover_labels, single_label
from secagg_attacks.models import linear, mlp, relu_convnet, tanh_lenet
from tests.attacks.inversion.victims import gradient, noise

BATCHES = st.lists(st.integers(0, 4), min_size=1, max_size=20)


def without_last_bias(model: nn.Module) -> nn.Module:
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    last.register_parameter("bias", None)
    return model


@pytest.mark.parametrize("label", range(10))
def test_one_label_is_the_only_negative_entry(label: int) -> None:
    model = tanh_lenet(1, 8, 10, seed=label)

    found = recover_labels(
        model, gradient(model, noise(1, 1, 8, 8), torch.tensor([label])), (1, 1, 8, 8), seed=0
    )

    assert (found.labels.tolist(), found.method) == ([label], "sign")
    assert np.flatnonzero(found.certain).tolist() == [label]


@pytest.mark.parametrize("label", range(10))
def test_one_label_is_found_without_a_bias_whatever_the_features_signs(label: int) -> None:
    model = without_last_bias(tanh_lenet(1, 8, 10, seed=label))

    found = recover_labels(
        model, gradient(model, noise(1, 1, 8, 8), torch.tensor([label])), (1, 1, 8, 8), seed=0
    )

    assert (found.labels.tolist(), found.method) == ([label], "rows")


def test_different_labels_are_found_without_a_bias_behind_features_that_are_not_negative() -> None:
    model = without_last_bias(mlp((64, 64, 10), seed=0))
    y = torch.tensor([1, 4, 6])

    found = recover_labels(model, gradient(model, noise(3, 64), y), (3, 64), seed=0)

    assert (found.labels.tolist(), found.method) == ([1, 4, 6], "distinct")


@given(BATCHES, st.integers(0, 1000))
def test_counts_are_exact_where_the_probabilities_are(labels: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(5), size=len(labels)).mean(axis=0)
    truth = np.bincount(labels, minlength=5)

    counts = count_labels(probabilities - truth / len(labels), probabilities, len(labels))

    assert counts.tolist() == truth.tolist()


@given(BATCHES, st.integers(0, 1000))
def test_counts_add_up_and_hold_every_class_that_is_certain(labels: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    own, guessed = generator.dirichlet(np.ones(5), size=2)
    gradient_of_bias = own - np.bincount(labels, minlength=5) / len(labels)

    counts = count_labels(gradient_of_bias, guessed, len(labels))

    assert counts.sum() == len(labels)
    assert (counts[gradient_of_bias < 0] >= 1).all()


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_labels_of_a_batch_of_digits_are_found_by_an_untrained_network(seed: int) -> None:
    handwritten = digits()
    chosen = np.random.default_rng(seed).choice(1797, 16, replace=False)
    x, y = torch.from_numpy(handwritten.images[chosen]), torch.from_numpy(handwritten.y[chosen])
    model = relu_convnet(1, 8, 10, seed)

    found = recover_labels(model, gradient(model, x, y), tuple(x.shape), seed=0)

    assert label_accuracy(y, found.labels) >= 15 / 16
    assert set(np.flatnonzero(found.certain)) <= set(y.tolist())


def test_images_like_the_clients_help_where_the_model_has_learned() -> None:
    handwritten = digits()
    x, y = torch.from_numpy(handwritten.x).double(), torch.from_numpy(handwritten.y)
    model = linear(64, 10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[:900]), y[:900]).backward()
        optimizer.step()

    right = np.zeros(2)
    for at in range(900, 1700, 32):
        seen, shape = gradient(model, x[at : at + 32], y[at : at + 32]), (32, 64)
        for which, auxiliary in enumerate((None, x[:900])):
            found = recover_labels(model, seen, shape, seed=0, auxiliary=auxiliary)
            right[which] += label_accuracy(y[at : at + 32], found.labels)

    assert right[1] > right[0]


def test_two_classes_without_a_bias_are_ambiguous_and_refused() -> None:
    with pytest.raises(InversionError) as refused:
        single_label(np.array([[1.0, 2.0], [-1.0, -2.0]]))

    assert refused.value.code == "labels-ambiguous"


def test_more_examples_than_classes_cannot_all_differ() -> None:
    with pytest.raises(InversionError) as refused:
        distinct_labels(np.ones((3, 4)), 4)

    assert refused.value.code == "labels-ambiguous"


def test_a_model_whose_logits_are_of_no_linear_layer_asks_for_the_labels() -> None:
    model = nn.Sequential(linear(64, 10, seed=0), nn.Sigmoid())

    with pytest.raises(InversionError) as refused:
        recover_labels(model, gradient(model, noise(1, 64), torch.tensor([1])), (1, 64), seed=0)

    assert refused.value.code == "labels-need-linear"
