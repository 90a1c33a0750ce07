"""What cells say of refusals."""

from secagg.errors import PlanError, Problem, SecaggError
from secagg_attacks.matrix.errors import note_of


def test_a_note_is_one_line_however_long_the_error():
    plan = PlanError([Problem("cohort.max_clients", "too few", "more"), Problem("run", "none")])
    assert "\n" in str(plan)
    assert note_of(plan) == (
        "plan has 2 problems: - cohort.max_clients: too few (more) - run: none [plan-invalid]"
    )


def test_a_note_says_what_to_do_where_the_error_does():
    assert note_of(SecaggError("cold", "too\n  cold", "a\ncoat")) == "too cold [cold]; hint: a coat"
    assert note_of(SecaggError("cold", "too cold")) == "too cold [cold]"
