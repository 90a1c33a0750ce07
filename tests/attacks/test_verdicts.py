"""When a table may say "at chance", and when it may not."""

from dataclasses import replace

from secagg_attacks.results import Measurement
from secagg_attacks.verdicts import judged
from tests.attacks.measured import measured

FAILED = {"value": 0.51, "low": 0.46, "high": 0.56, "p_value": 0.4}


def verdicts(*measurements):
    return [each.verdict for each in judged(measurements)]


def test_a_failure_beside_a_success_is_at_chance():
    assert verdicts(measured(), measured(defence="masks", **FAILED)) == ["leaks", "at chance"]


def test_a_failure_without_a_success_shows_nothing():
    assert verdicts(measured(value=0.8), measured(defence="masks", **FAILED)) == ["partial", "not shown"]
    assert verdicts(measured(defence="masks", **FAILED)) == ["not shown"]


def test_the_success_of_another_attack_or_another_seed_does_not_count():
    other_attack, other_seed = measured("lira"), replace(measured(), seed=1)
    failed = measured(defence="masks", **FAILED)
    assert verdicts(other_attack, other_seed, failed)[-1] == "not shown"


def test_a_success_under_a_defence_is_no_success_on_the_unprotected_view():
    assert verdicts(measured(defence="bfv"), measured(defence="masks", **FAILED))[-1] == "not shown"


def test_what_is_above_chance_is_partial_below_the_level_and_leaks_from_it_on():
    assert verdicts(measured(value=0.899), measured(value=0.9)) == ["partial", "leaks"]


def test_tests_are_corrected_over_the_whole_table():
    close = measured(defence="masks", value=0.6, low=0.49, p_value=5e-4)
    assert verdicts(measured(), close)[1] == "partial"
    many = [measured("lira", f"masks-client-{index}", p_value=0.9) for index in range(1, 50)]
    found = judged([measured(), close, *many])
    assert found[1].verdict == "not shown", (
        "by itself it is above chance: the size of a table protects nobody"
    )
    assert found[1].adjusted > 1e-3


def test_what_was_not_measured_keeps_its_status_and_is_no_test():
    absent = Measurement("lira", "masks", "not applicable", 0)
    late = Measurement("lira", "bfv", "not run", 0)
    found = judged([measured(), absent, late])
    assert [each.verdict for each in found] == ["leaks", "not applicable", "not run"]
    assert found[0].adjusted == measured().p_value
    assert found[1].adjusted is None


def test_a_high_figure_of_too_few_is_never_called_chance():
    assert verdicts(measured(), measured(defence="masks", value=0.95, p_value=0.01))[1] == "not shown"


def test_an_interval_that_reaches_up_to_where_the_view_is_given_away_is_of_too_few():
    few = measured(defence="masks", value=0.7, low=0.45, high=0.9, p_value=0.05)
    assert verdicts(measured(), few)[1] == "not shown"
    assert verdicts(measured(), replace(few, high=0.89))[1] == "at chance"
    assert verdicts(measured(), replace(few, high=None))[1] == "not shown"


def test_a_table_without_a_test_is_judged_too():
    assert verdicts(Measurement("lira", "masks", "not run", 0)) == ["not run"]
