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


def test_a_figure_that_a_guess_reaches_too_is_no_success():
    failed = measured(defence="masks", **FAILED)
    by_luck = measured(p_value=0.5)
    no_more_than_a_guess = measured(chance=0.96)
    for control in (by_luck, no_more_than_a_guess):
        assert verdicts(control, failed)[1] == "not shown"
    assert verdicts(no_more_than_a_guess) == ["partial"], "told apart, and yet below its chance level"


def test_on_the_unprotected_row_nothing_is_at_chance():
    upload, of_sum = (replace(measured(name), method="lira") for name in ("lira-upload", "lira-sum"))
    assert verdicts(upload, replace(of_sum, **FAILED)) == ["leaks", "not shown"]


def test_the_sum_is_at_chance_only_where_the_sum_without_protection_is_not():
    upload, of_sum = (replace(measured(name), method="lira") for name in ("lira-upload", "lira-sum"))
    told, failed = replace(of_sum, value=0.66), replace(of_sum, defence="masks-client-1", **FAILED)
    assert verdicts(upload, told, failed) == ["leaks", "partial", "at chance"]
    assert verdicts(upload, replace(told, p_value=0.2), failed)[-1] == "not shown"


def test_another_reading_that_finds_something_keeps_a_cell_from_being_called_at_chance():
    failed = measured(defence="masks", **FAILED)
    assert verdicts(measured(), replace(failed, also=(0.011, 0.5)))[1] == "at chance"
    assert verdicts(measured(), replace(failed, also=(0.01, 0.5)))[1] == "not shown"


def test_a_cell_may_ask_for_an_interval_that_ends_well_below_a_leak():
    failed = replace(measured(defence="masks", **FAILED), high=0.7, clear_below=0.7)
    assert verdicts(measured(), failed)[1] == "not shown"
    assert verdicts(measured(), replace(failed, high=0.69))[1] == "at chance"


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
