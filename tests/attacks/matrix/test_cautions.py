"""What a cell says beside a figure that its verdict alone might have misread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg_attacks.matrix.cautions import by_trace_alone, least_rank_p_value, too_few_to_tell
from secagg_attacks.matrix.reconstructions import rank_p_value
from secagg_attacks.statistics.holm import ALPHA, holm


@pytest.mark.parametrize(
    ("p_value", "value", "said"), [(1e-9, 3.4, ("so",)), (1e-9, 20.0, ()), (0.5, 3.4, ())]
)
def test_a_trace_is_said_where_the_test_sees_what_the_figure_does_not(p_value, value, said):
    assert by_trace_alone(p_value, value, 15.3, "so") == said


@given(st.floats(1.1e-6, 1.0))
def test_the_note_names_the_first_table_in_which_the_least_p_value_is_not_rejected(least):
    (note,) = too_few_to_tell(30.0, 27.0, least)
    tests = 1 if note.endswith("any table") else int(note.split()[-4])
    assert not holm([least, *[1.0] * (tests - 1)]).rejected[0]
    assert tests == 1 or holm([least, *[1.0] * (tests - 2)]).rejected[0]


def test_an_attack_that_does_not_win_or_has_examples_enough_is_not_said_to_have_too_few():
    assert too_few_to_tell(20.0, 27.0, 0.5) == ()
    assert too_few_to_tell(30.0, 27.0, ALPHA / 1e6) == ()
    assert too_few_to_tell(30.0, 27.0, 0.0) == ()


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**31))
def test_no_ranks_have_a_smaller_p_value_than_those_of_exact_reconstructions(examples, others, seed):
    random = np.random.default_rng(seed)
    pool, originals = random.random((others, 1, 2, 2)), random.random((examples, 1, 2, 2))
    least = least_rank_p_value(examples, others)
    assert rank_p_value([(originals, originals)], pool) == pytest.approx(least)
    assert rank_p_value([(originals, random.random((examples, 1, 2, 2)))], pool) >= least * (1 - 1e-9)
