"""What a plan says about privacy is complete, free of contradictions, and means what the account says."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secagg.errors import PlanError
from secagg.plan import Plan
from secagg.plan_settings import (
    deltas_of,
    honest_noise,
    noise_multiplier_of,
    settings_of,
    training_target,
    uses_of,
)
from secagg.privacy.accountant import spent
from secagg.privacy.mechanisms import DistributedGaussian, LocalTarget
from secagg.protections import codec_of

COHORT = {"max_clients": 10, "min_survivors": 6, "colluders": 0.1, "dropouts": 0.2}
CLIENT = {"unit": "client", "placement": "distributed", "noise_multiplier": 1.0, "delta": 1e-5}
CENTRAL = {**CLIENT, "placement": "central"}
LOCAL = {"epsilon": 8.0, "delta": 1e-5, "local_steps": 100}
EXAMPLE = {"unit": "example", **LOCAL}


def small_model() -> dict[str, np.ndarray]:
    return {"w": np.zeros((3, 4), dtype=np.float32), "b": np.zeros(3)}


def plan(privacy: dict[str, Any], **tables: dict[str, Any]) -> Plan:
    whole = {"run": {"name": "private", "rounds": 5}, "cohort": COHORT, "privacy": privacy, **tables}
    return Plan(**whole)


def refusals(privacy: dict[str, Any], **tables: dict[str, Any]) -> dict[str, str]:
    """path -> message and way out of everything wrong with the plan."""
    with pytest.raises(PlanError) as caught:
        plan(privacy, **tables)
    assert all(problem.hint or "must be" in problem.message for problem in caught.value.problems)
    return {problem.path: f"{problem.message} ({problem.hint})" for problem in caught.value.problems}


@pytest.mark.parametrize("privacy", [CLIENT, CENTRAL, EXAMPLE, {**CLIENT, "example": LOCAL}])
def test_a_private_plan_survives_toml_and_json(privacy):
    first = plan(privacy)
    assert Plan.parse(first.to_toml()) == first
    assert Plan.from_json(first.to_json()) == first


@pytest.mark.parametrize("key", ["placement", "delta"])
def test_a_client_unit_without_what_it_needs_is_refused(key):
    assert f"privacy.{key}" in refusals({name: CLIENT[name] for name in CLIENT if name != key})


@pytest.mark.parametrize("key", ["epsilon", "delta", "local_steps"])
def test_an_example_unit_without_what_it_needs_is_refused(key):
    assert f"privacy.{key}" in refusals({name: EXAMPLE[name] for name in EXAMPLE if name != key})


def test_neither_noise_nor_epsilon_is_no_plan():
    privacy = {"unit": "client", "placement": "distributed", "delta": 1e-5}
    assert "epsilon" in refusals(privacy)["privacy.noise_multiplier"]


@pytest.mark.parametrize("foreign", [{"noise_multiplier": 1.0}, {"epsilon": 1.0}, {"ring_bits": 16}])
def test_without_a_unit_there_is_nothing_to_say_about_noise(foreign):
    assert f"privacy.{next(iter(foreign))}" in refusals({"unit": "none", **foreign})


def test_each_unit_refuses_the_other_ones_keys():
    assert "privacy.local_steps" in refusals({**CLIENT, "local_steps": 10})
    assert "privacy.placement" in refusals({**EXAMPLE, "placement": "central"})


@pytest.mark.parametrize("noise", [0.0, -1.0, math.inf, math.nan])
def test_zero_negative_or_infinite_noise_is_refused(noise):
    assert "privacy.noise_multiplier" in refusals({**CLIENT, "noise_multiplier": noise})


@pytest.mark.parametrize("epsilon", [0.0, -2.0, math.inf, math.nan])
def test_a_zero_negative_or_infinite_epsilon_is_refused(epsilon):
    assert "privacy.epsilon" in refusals({**EXAMPLE, "epsilon": epsilon})


def test_an_impossible_budget_is_refused():
    privacy = {"unit": "client", "placement": "distributed", "epsilon": 1e-9, "delta": 1e-12}
    assert "epsilon" in refusals(privacy)["privacy"]


@pytest.mark.parametrize(("clients", "delta", "fine"), [(10, 0.1, False), (10, 0.2, False), (10, 0.09, True)])
def test_delta_stays_below_one_over_the_clients(clients, delta, fine):
    cohort = {**COHORT, "max_clients": clients}
    if fine:
        plan({**CLIENT, "delta": delta}, cohort=cohort)
    else:
        assert "privacy.delta" in refusals({**CLIENT, "delta": delta}, cohort=cohort)


def test_under_poisson_sampling_delta_is_held_against_the_whole_population():
    cohort = {**COHORT, "sampling": "poisson", "rate": 0.08, "population": 100}
    assert "1/100" in refusals({**CLIENT, "delta": 0.02}, cohort=cohort)["privacy.delta"]


@pytest.mark.parametrize("privacy", [CLIENT, CENTRAL, EXAMPLE])
def test_example_counts_as_weights_are_refused_under_any_unit(privacy):
    assert "uniform" in refusals(privacy, aggregation={"weighting": "examples"})["aggregation.weighting"]


def test_public_weights_are_constants_of_the_plan_and_no_others():
    public = {"weighting": "public", "weights": {"a": 3, "*": 1}}
    assert settings_of(plan(CLIENT, aggregation=public)).max_weight == 3
    assert "aggregation.weights" in refusals(CLIENT, aggregation={"weighting": "public"})
    assert "aggregation.weights" in refusals(CLIENT, aggregation={"weights": {"a": 3}})


@pytest.mark.parametrize("privacy", [CLIENT, CENTRAL, EXAMPLE])
def test_a_metric_without_a_share_of_the_budget_is_refused_under_any_unit(privacy):
    metrics = {"loss": {"min": 0.0, "max": 4.0}}
    assert "metrics.loss.noise_multiplier" in refusals(privacy, metrics=metrics)


def test_noise_on_a_metric_needs_a_unit():
    metrics = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 3.0}}
    assert "metrics.loss.noise_multiplier" in refusals({"unit": "none"}, metrics=metrics)


@pytest.mark.parametrize("survivors", [2, 3])
def test_fewer_than_two_honest_shares_of_noise_are_refused(survivors):
    cohort = {"max_clients": 20, "min_survivors": survivors, "colluders": 0.1, "dropouts": 0.2}
    assert "two are the least" in refusals(CLIENT, cohort=cohort)["cohort.min_survivors"]
    plan(CENTRAL, cohort=cohort)


ABOUT_ONE_EXAMPLE = {
    "masks": {"protection": {"kind": "masks"}},
    "none": {"protection": {"kind": "none"}},
    "bfv": {"protection": {"kind": "bfv"}, "cohort": {"colluders": 0.0, "adversary": "semi-honest"}},
    "ckks": {"protection": {"kind": "ckks"}, "cohort": {"colluders": 0.0, "adversary": "semi-honest"}},
}


@pytest.mark.parametrize("clients", [20, 100])
@pytest.mark.parametrize("kind", ABOUT_ONE_EXAMPLE)
def test_noise_in_training_needs_no_honest_shares_and_noise_on_its_metrics_does(kind, clients):
    """Ten of a hundred may collude, and three are in a sum: fewer than none of them would be honest."""
    tables = ABOUT_ONE_EXAMPLE[kind]
    cohort = {"max_clients": clients, "min_survivors": 3, **tables.get("cohort", {})}
    of_training = plan(EXAMPLE, cohort=cohort, protection=tables["protection"])
    assert uses_of(of_training, codec_of(of_training, small_model()), 1, 1)
    metrics = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 30.0}}
    measured = {"cohort": cohort, "protection": tables["protection"], "metrics": metrics}
    if kind == "masks":
        found = refusals(EXAMPLE, **measured)["cohort.min_survivors"]
        colluding = clients // 10
        assert f"{colluding} may collude: the noise of {max(0, 3 - colluding)} other client" in found
        assert f"at least {colluding + 2}" in found
    elif kind == "none":
        assert "only their sum protects" in refusals(EXAMPLE, **measured)["protection.kind"]
    else:
        plan(EXAMPLE, **measured)


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_two_shares_of_noise_are_sure_beside_that_of_who_opens_a_sum_of_ciphertexts(kind):
    tables = {"protection": {"kind": kind}}
    found = refusals(CLIENT, cohort={**HOMOMORPHIC, "min_survivors": 2}, **tables)
    assert set(found) == {"cohort.min_survivors"}
    assert "one opens the sum and knows its own share" in found["cohort.min_survivors"]
    assert "the noise of 1 other client is" in found["cohort.min_survivors"]
    assert "collude" not in found["cohort.min_survivors"] and "at least 3" in found["cohort.min_survivors"]
    assert honest_noise(plan(CLIENT, cohort={**HOMOMORPHIC, "min_survivors": 3}, **tables)) == 2
    plan({"unit": "none"}, cohort={**HOMOMORPHIC, "min_survivors": 2}, **tables)


def test_shares_of_noise_without_a_protection_are_refused():
    assert "masks" in refusals(CLIENT, protection={"kind": "none"})["protection.kind"]
    plan(CENTRAL, protection={"kind": "none"})


HOMOMORPHIC = {**COHORT, "colluders": 0.0, "adversary": "semi-honest"}


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_noise_that_a_server_would_add_is_refused_where_clients_see_the_sum_without_it(kind):
    tables = {"cohort": HOMOMORPHIC, "protection": {"kind": kind}}
    found = refusals(CENTRAL, **tables)
    assert set(found) == {"privacy.placement"}
    assert "decryptors would see the sum" in found["privacy.placement"]
    assert "distributed" in found["privacy.placement"]
    plan(CLIENT, **tables)


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_a_small_ring_that_wraps_is_refused_where_integers_are_added(kind):
    tables = {"cohort": HOMOMORPHIC, "protection": {"kind": kind}}
    found = refusals({**CLIENT, "ring_bits": 16}, **tables)
    assert set(found) == {"privacy.ring_bits"}
    assert "wrap" in found["privacy.ring_bits"] and "masks" in found["privacy.ring_bits"]


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
@pytest.mark.parametrize(
    "privacy",
    [CLIENT, {**CLIENT, "mechanism": "skellam"}, EXAMPLE, {**CLIENT, "example": LOCAL}],
    ids=["distributed", "skellam", "example", "both"],
)
def test_noise_of_clients_costs_with_ciphertexts_what_it_costs_under_masks_with_one_colluder(kind, privacy):
    """Who opens a sum knows its own share of the noise in it, as a colluder does."""
    model = small_model()
    one_colluder = {**HOMOMORPHIC, "colluders": 0.1}
    asked = (
        plan(privacy, cohort=HOMOMORPHIC, protection={"kind": kind}),
        plan(privacy, cohort=one_colluder, protection={"kind": "masks"}),
    )
    ours, theirs = (uses_of(one, codec_of(one, model), 1, 1) for one in asked)
    assert ours and ours == theirs
    assert honest_noise(asked[0]) == honest_noise(asked[1]) == HOMOMORPHIC["min_survivors"] - 1


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_noise_is_calibrated_for_who_opens_the_sum(kind):
    """Epsilon given: the same noise as under masks with one colluder, more than with none."""
    privacy = {"unit": "client", "placement": "distributed", "epsilon": 4.0, "delta": 1e-5}
    coarse = {"encoding": {"precision": 1e-4}}
    multiplier = {
        name: settings_of(plan(privacy, cohort=cohort, protection={"kind": used}, **coarse), 1000).noise
        for name, used, cohort in (
            ("ours", kind, HOMOMORPHIC),
            ("one", "masks", {**HOMOMORPHIC, "colluders": 0.1}),
            ("nobody", "masks", HOMOMORPHIC),
        )
    }
    assert multiplier["ours"] == multiplier["one"]
    assert multiplier["ours"].contributors == multiplier["nobody"].contributors - 1


def test_noise_that_widens_the_ring_beyond_what_ckks_adds_exactly_is_refused():
    tables = {"cohort": HOMOMORPHIC, "encoding": {"precision": 1e-9}}
    privacy = {**CLIENT, "noise_multiplier": 30.0}
    found = refusals(privacy, **tables, protection={"kind": "ckks"})
    assert "CKKS" in found["encoding.precision"]
    plan(privacy, **tables, protection={"kind": "bfv"})


def test_poisson_sampling_needs_its_numbers_and_a_unit_to_amplify():
    cohort = {**COHORT, "sampling": "poisson"}
    assert {"cohort.rate", "cohort.population"} <= refusals(CLIENT, cohort=cohort).keys()
    whole = {**cohort, "rate": 0.08, "population": 100}
    assert "cohort.sampling" in refusals(EXAMPLE, cohort=whole)
    assert "cohort.rate" in refusals(CLIENT, cohort={**COHORT, "rate": 0.5})
    plan(CLIENT, cohort=whole)


def test_a_rate_that_hardly_ever_draws_a_cohort_is_refused():
    cohort = {**COHORT, "sampling": "poisson", "rate": 0.5, "population": 100}
    assert "50" in refusals(CLIENT, cohort=cohort)["cohort.rate"]


def test_adaptive_clipping_has_one_norm_and_a_count_that_can_be_afforded():
    groups = {"group": [{"match": "head.*", "clip_norm": 2.0}]}
    adaptive = {**CLIENT, "adaptive_clipping": {}, "noise_multiplier": 0.5}
    assert "privacy.adaptive_clipping" in refusals(adaptive, encoding=groups)
    assert "count" in refusals({**adaptive, "noise_multiplier": 1.5})["privacy"]


def test_the_update_and_the_count_share_the_noise_that_the_plan_asks_for():
    noise = settings_of(plan({**CLIENT, "adaptive_clipping": {}, "noise_multiplier": 0.5})).noise
    assert noise is not None and noise.update is not None and noise.update.count_sigma is not None
    together = noise.update.noise_multiplier**-2 + (2 * noise.update.count_sigma) ** -2
    assert together == pytest.approx(0.5**-2)


def test_central_noise_has_no_ring_and_no_skellam():
    assert "privacy.ring_bits" in refusals({**CENTRAL, "ring_bits": 16})
    assert "privacy.mechanism" in refusals({**CENTRAL, "mechanism": "skellam"})


@pytest.mark.parametrize("bits", [7, 21])
def test_a_small_ring_has_8_to_20_bits(bits):
    assert "privacy.ring_bits" in refusals({**CLIENT, "ring_bits": bits})


def test_noise_is_sized_for_the_fewest_honest_clients_of_a_sum():
    asked = plan(CLIENT)
    assert honest_noise(asked) == 5
    ((_, mechanism),) = codec_of(asked, small_model()).queries
    assert isinstance(mechanism, DistributedGaussian)
    steps = math.sqrt(5) * mechanism.sigma
    assert mechanism.contributors == 5
    assert steps == pytest.approx(2**20)


def test_noise_below_half_a_step_is_refused():
    assert "half a step" in refusals({**CLIENT, "noise_multiplier": 1e-7})["privacy.noise_multiplier"]


@pytest.mark.parametrize("placement", ["distributed", "central"])
def test_calibrated_noise_spends_the_epsilon_of_all_rounds_and_no_more(placement):
    asked = plan({"unit": "client", "placement": placement, "epsilon": 4.0, "delta": 1e-5})
    model = small_model()
    audience = "colluders" if placement == "distributed" else "public"
    codec = codec_of(asked, model)
    uses = [use for number in range(5) for use in uses_of(asked, codec, number + 1, 1)]
    assert 3.9 < spent(uses, 1e-5, audience).epsilon <= 4.0
    assert spent([*uses, replace(uses[0], round=6)], 1e-5, audience).epsilon > 4.0


def test_a_noise_multiplier_given_is_the_one_used():
    assert noise_multiplier_of(plan({**CLIENT, "epsilon": 50.0}), 10) == 1.0


def test_both_units_are_accounted_and_a_metric_counts_in_both():
    metrics = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 9.0}}
    asked = plan({**CLIENT, "example": LOCAL}, metrics=metrics)
    uses = uses_of(asked, codec_of(asked, small_model()), 1, 1)
    assert {(use.unit, use.query) for use in uses} == {
        ("client", "update"),
        ("client", "metric:loss"),
        ("example", "metric:loss"),
        ("example", "training"),
    }
    by = {(use.unit, use.query): use.mechanism for use in uses}
    one, other = by["client", "metric:loss"], by["example", "metric:loss"]
    assert isinstance(one, DistributedGaussian) and isinstance(other, DistributedGaussian)
    assert other.l2 == pytest.approx(2 * one.l2)
    assert isinstance(by["example", "training"], LocalTarget)
    assert deltas_of(asked) == {"client": 1e-5, "example": 1e-5}


def test_a_plan_without_a_unit_has_no_noise_and_costs_nothing():
    asked = plan({"unit": "none"})
    assert settings_of(asked).noise is None
    assert deltas_of(asked) == {}


def test_an_epsilon_below_one_rounds_cost_is_refused():
    refused = refusals({**CLIENT, "epsilon": 1.0})
    assert "one round alone costs" in refused["privacy.epsilon"]


@pytest.mark.parametrize("privacy", [EXAMPLE, {**CLIENT, "noise_multiplier": 1.0, "example": LOCAL}])
def test_metrics_and_training_together_cost_an_example_no_more_than_epsilon(privacy):
    metrics = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 9.0}}
    asked = plan(privacy, metrics=metrics)
    codec = codec_of(asked, small_model())
    uses = [use for number in range(5) for use in uses_of(asked, codec, number + 1, 1)]
    found = spent([use for use in uses if use.unit == "example"], 1e-5, "colluders").epsilon
    assert 7.9 < found <= 8.0 * (1 + 1e-9)
    target = training_target(asked)
    assert target is not None and 0 < target.epsilon < 8.0 and target.delta < 1e-5


def test_metrics_that_leave_training_nothing_are_refused():
    metrics = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 0.5}}
    assert "more noise_multiplier" in refusals(EXAMPLE, metrics=metrics)["privacy"]


def test_what_else_costs_is_named_where_no_noise_on_the_update_keeps_an_epsilon():
    asked = {"unit": "client", "placement": "distributed", "epsilon": 0.5, "delta": 1e-5}
    assert "clip_norm" in refusals({**asked, "adaptive_clipping": {}})["privacy"]
    metrics = {"loss": {"min": 0.0, "max": 4.0, "noise_multiplier": 0.5}}
    assert "each metric" in refusals(asked, metrics=metrics)["privacy"]
