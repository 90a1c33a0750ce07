"""What a process remembers of private training: for as long as a client keeps it, and never a lower count."""

from __future__ import annotations

import gc
import weakref

import pytest

import secagg.torch
from secagg.errors import PrivacyError
from tests.torch.ward import Ward


def begun(ward: Ward):
    """The model's weak reference, once a round was trained."""
    ward.train(ward.task(1, secagg.torch.arrays(ward.model)))
    return weakref.ref(ward.model)


def test_a_client_that_is_over_leaves_no_model_behind():
    models = [begun(Ward()) for _ in range(3)]
    gc.collect()
    assert [model() for model in models] == [None] * 3


def test_under_the_key_of_a_run_whose_model_is_gone_no_other_model_begins_its_count_anew():
    first = Ward(local_steps=4)
    key, model = first.key, begun(first)
    del first
    gc.collect()
    assert model() is None
    with pytest.raises(PrivacyError, match="are gone") as refused:
        begun(Ward(key=key, local_steps=4))
    assert refused.value.code == "private-changed"


@pytest.mark.parametrize("kept", ["given", "private"])
def test_a_run_goes_on_whichever_three_are_kept(kept):
    ward = Ward()
    private = secagg.torch.private(*ward.three, ward.task())
    secagg.torch.arrays(ward.model)
    three = {"given": ward.three, "private": private}[kept]
    task = ward.task(2)
    del ward, private
    gc.collect()
    assert secagg.torch.private(*three, task)[2] is not None
    assert secagg.torch.arrays(three[0]).receipt.round == 2


def test_what_was_refused_at_first_may_still_begin():
    ward = Ward()
    ward.model.eval()
    with pytest.raises(PrivacyError, match="training mode"):
        secagg.torch.private(*ward.three, ward.task())
    ward.model.train()
    secagg.torch.private(*ward.three, ward.task())
