"""Shadow models by a user's own training, on threads and in processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from secagg_attacks.membership.errors import MembershipError
from secagg_attacks.membership.shadows import train_shadows
from secagg_attacks.membership.splits import complementary_pairs
from tests.attacks.membership import fits

_EXAMPLES = 30


def _data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(_EXAMPLES, 4, generator=generator), torch.arange(_EXAMPLES) % 3


def _run(fit, executor, models=4, **more):
    return train_shadows(fit, *_data(), complementary_pairs(models, _EXAMPLES, seed=0), 7, executor, **more)


def _one_thread_one_result():
    with ThreadPoolExecutor(1) as executor:
        return _run(fits.softmax_regression, executor)


def test_logits_of_every_model_come_in_the_order_of_its_rows():
    x, y = _data()
    mine = complementary_pairs(4, _EXAMPLES, seed=0)
    found = _one_thread_one_result()
    assert found.shape == (4, _EXAMPLES, 3)
    assert found.dtype == np.float32
    seeds = np.random.SeedSequence(7).generate_state(4)
    for row, seed, logits in zip(mine, seeds, found, strict=True):
        model = fits.softmax_regression(x[torch.from_numpy(row)], y[torch.from_numpy(row)], int(seed))
        assert logits == pytest.approx(model(x).detach().numpy(), abs=1e-6)


def test_a_pool_of_spawned_processes_gives_what_one_thread_gives():
    context = multiprocessing.get_context("spawn")
    told = []
    x, y = _data()
    seen, labels = x.numpy(), y.numpy()
    before = seen.copy(), labels.copy()
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        found = train_shadows(
            fits.softmax_regression,
            x,
            y,
            complementary_pairs(4, _EXAMPLES, seed=0),
            7,
            executor,
            lambda *step: told.append(step),
        )
    assert found == pytest.approx(_one_thread_one_result(), abs=1e-6)
    # Sent tensors stay where they are: PyTorch would move them from under the arrays that look at them.
    assert (seen == before[0]).all() and (labels == before[1]).all()
    assert seen.__array_interface__["data"][0] == x.data_ptr()
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("fit", "why"),
    [(fits.fails, "out of paper"), (fits.gives_nan, "not finite"), (fits.gives_one_column, "(120,)")],
)
def test_a_fit_that_fails_is_named_with_its_cause(fit, why):
    with ThreadPoolExecutor(1) as executor, pytest.raises(MembershipError) as refused:
        _run(fit, executor)
    assert refused.value.code == "shadow-failed"
    assert "shadow model 1 of 4" in refused.value.message
    assert why in refused.value.message
    assert refused.value.__cause__ is not None


def test_a_worker_process_that_dies_is_named():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor, pytest.raises(MembershipError) as refused:
        _run(fits.dies, executor, models=2)
    assert refused.value.code == "shadow-failed"
    assert "died" in refused.value.message


def test_a_fit_that_no_process_can_import_is_refused_before_any_is_started():
    with ProcessPoolExecutor(1) as executor, pytest.raises(MembershipError) as refused:
        _run(lambda x, y, seed: fits.softmax_regression(x, y, seed), executor)
    assert refused.value.code == "fit-not-importable"


def test_a_model_without_examples_is_refused_by_name():
    with ThreadPoolExecutor(1) as executor, pytest.raises(MembershipError) as refused:
        train_shadows(fits.softmax_regression, *_data(), np.zeros((1, _EXAMPLES), dtype=bool), 0, executor)
    assert refused.value.code == "model-without-examples"
