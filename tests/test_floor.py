"""A client's floor refuses what is weaker, names all of it, and is itself read strictly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from secagg.errors import FloorError, PlanError
from secagg.floor import Floor
from secagg.plan import Plan
from secagg.privacy.accountant import spent
from secagg.privacy.mechanisms import DiscreteGaussian, DistributedGaussian, Gaussian, Use

FINGERPRINT = "ab" * 32


def plan(kind: str = "masks", **cohort: Any) -> Plan:
    return Plan(
        run={"name": "digits", "rounds": 20},
        cohort={"max_clients": 10} | cohort,
        protection={"kind": kind},
    )


def refusal(floor: Floor, asked: Plan) -> FloorError:
    with pytest.raises(FloorError) as caught:
        floor.check_plan(asked)
    assert caught.value.exit_code == 4
    return caught.value


def test_the_default_floor_accepts_a_default_plan() -> None:
    Floor().check_plan(plan())


@pytest.mark.parametrize(
    ("floor", "asked", "code"),
    [
        (Floor(), plan(kind="none"), "floor-protection"),
        (Floor(), plan(adversary="semi-honest"), "floor-adversary"),
        (Floor(), plan(min_survivors=2), "floor-survivors"),
        (Floor(min_survivors=5), plan(min_survivors=4), "floor-survivors"),
        (Floor(min_colluders=2), plan(colluders=0.1), "floor-colluders"),
        (Floor(plan_digest="00" * 32), plan(), "floor-plan"),
    ],
)
def test_a_weaker_plan_is_refused_by_name(floor: Floor, asked: Plan, code: str) -> None:
    assert refusal(floor, asked).code == code


def test_everything_refused_is_said_at_once_under_the_first_code() -> None:
    floor = Floor(min_survivors=5, min_colluders=2, plan_digest="00" * 32)
    error = refusal(floor, plan(kind="none", adversary="semi-honest", min_survivors=3))
    assert error.code == "floor-protection"
    for part in ('protection "none"', '"semi-honest"', "over 3 clients", "1 colluding", "digest"):
        assert part in error.message


def test_a_share_of_colluders_is_counted_exactly() -> None:
    Floor(min_colluders=1).check_plan(plan(colluders=0.1))
    assert refusal(Floor(min_colluders=2), plan(colluders=0.1)).code == "floor-colluders"
    Floor(min_colluders=2).check_plan(plan(colluders=0.11))


def test_a_floor_that_was_lowered_on_purpose_accepts_the_weaker_plan() -> None:
    floor = Floor(protections={"masks", "none"}, adversary={"semi-honest", "malicious"}, min_survivors=2)
    floor.check_plan(plan(kind="none", adversary="semi-honest", min_survivors=2))


def homomorphic(kind: str, *, recompute: bool = False) -> Plan:
    adversary = "malicious" if recompute else "semi-honest"
    return Plan(
        run={"name": "digits", "rounds": 20},
        cohort={"max_clients": 10, "colluders": 0.0, "adversary": adversary},
        protection={"kind": kind, **({"recompute": True} if recompute else {})},
    )


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_the_default_floor_refuses_homomorphic_sums_and_gives_all_reasons(kind: str) -> None:
    error = refusal(Floor(min_colluders=1), homomorphic(kind))
    assert error.code == "floor-protection"
    for part in (f'protection "{kind}"', 'only "masks"', 'assumed "semi-honest"', "0 colluding clients"):
        assert part in error.message
    assert refusal(Floor(), homomorphic(kind, recompute=True)).code == "floor-protection"


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_a_floor_lowered_to_homomorphic_sums_accepts_them_and_no_others(kind: str) -> None:
    floor = Floor(protections={kind}, adversary={"semi-honest"})
    floor.check_plan(homomorphic(kind))
    assert refusal(floor, homomorphic("ckks" if kind == "bfv" else "bfv")).code == "floor-protection"
    assert refusal(Floor(protections={kind}), homomorphic(kind)).code == "floor-adversary"


@pytest.mark.parametrize("kind", ["bfv", "ckks"])
def test_a_floor_for_an_honest_server_never_accepts_decryptors_that_are_sent_every_ciphertext(
    kind: str,
) -> None:
    """Whoever trusts the server to add did not agree to trust each decryptor with every update."""
    recomputed = homomorphic(kind, recompute=True)
    trusting = Floor(protections={"masks", "bfv", "ckks"}, adversary={"semi-honest"})
    assert refusal(trusting, recomputed).code == "floor-adversary"
    Floor(protections={kind}, adversary={"malicious"}).check_plan(recomputed)


def test_a_floor_that_wants_a_colluder_tolerated_refuses_every_homomorphic_plan() -> None:
    floor = Floor(protections={"bfv", "ckks"}, adversary={"semi-honest", "malicious"}, min_colluders=1)
    for kind in ("bfv", "ckks"):
        assert refusal(floor, homomorphic(kind)).code == "floor-colluders"


def test_a_pinned_digest_accepts_exactly_its_plan() -> None:
    floor = Floor(plan_digest=plan().digest.hex())
    floor.check_plan(plan())
    assert refusal(floor, plan(min_survivors=4)).code == "floor-plan"


def test_any_member_is_admitted_unless_members_are_pinned() -> None:
    assert Floor().admits(FINGERPRINT)
    pinned = Floor(members={FINGERPRINT})
    assert pinned.admits(FINGERPRINT)
    assert not pinned.admits("cd" * 32)


def test_fingerprints_may_be_pasted_as_openssl_prints_them() -> None:
    printed = ":".join(["AB"] * 32)
    assert Floor(members={printed}) == Floor(members={FINGERPRINT})
    assert Floor(members={FINGERPRINT}).admits(printed)


def test_a_floor_is_loaded_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "floor.toml"
    path.write_text(f'min_survivors = 5\nmembers = ["{FINGERPRINT}"]\nprotections = ["masks"]\n')
    assert Floor.load(path) == Floor(min_survivors=5, members={FINGERPRINT})
    path.write_text("")
    assert Floor.load(str(path)) == Floor()


def test_a_bad_floor_file_lists_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "floor.toml"
    path.write_text(
        'protections = ["paillier"]\nadversary = []\nmin_survivors = 1\nmin_colluders = 1.5\n'
        'members = ["zz"]\nplan_digest = 3\nmin_surviors = 3\n'
    )
    with pytest.raises(PlanError, match=r"floor\.toml has 7 problems") as caught:
        Floor.load(path)
    assert {problem.path for problem in caught.value.problems} == {
        "protections.0",
        "adversary",
        "min_survivors",
        "min_colluders",
        "members.0",
        "plan_digest",
        "min_surviors",
    }
    assert "did you mean min_survivors?" in str(caught.value)


def test_a_missing_floor_file_is_an_error_and_not_a_default(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        Floor.load(tmp_path / "floor.toml")


def test_a_bad_keyword_is_a_plan_error_too() -> None:
    with pytest.raises(PlanError, match="members: a list is expected"):
        Floor(members=FINGERPRINT)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="min_epsilon: is not a key"):
        Floor(min_epsilon=3)  # type: ignore[call-arg]


def test_none_says_any() -> None:
    assert Floor(members=None, plan_digest=None) == Floor()


def test_a_floor_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Floor().min_survivors = 2  # type: ignore[misc]
    assert hash(Floor()) == hash(Floor())


# -- what it has cost so far ------------------------------------------------------------------------------

SUM = Use(1, 0, "client", "update", DistributedGaussian(4096.0, 5, 10, 4096.0, 12000.0), "distributed", 6)
STEP = Use(1, 0, "example", "training", Gaussian(4.0), "client", 6)


def over_budget(floor: Floor, *arguments: Any) -> str:
    with pytest.raises(FloorError) as caught:
        floor.check_budget(*arguments)
    assert caught.value.exit_code == 4
    return caught.value.code


def test_a_default_floor_sets_no_budget() -> None:
    Floor().check_budget([SUM] * 1000, [SUM], 10**6)


def test_a_sum_more_is_refused_when_it_and_not_before_it_the_epsilon_is_passed() -> None:
    floor = Floor(max_epsilon=(cost([SUM] * 3) + cost([SUM] * 4)) / 2)
    for before in range(3):
        floor.check_budget([SUM] * before, [SUM], before)
    assert over_budget(floor, [SUM] * 3, [SUM], 3) == "floor-epsilon"
    floor.check_budget([SUM] * 3, [], 3)


def cost(uses: list[Use]) -> float:
    return spent(uses, 1e-5, "colluders").epsilon


def test_the_noise_that_counts_is_that_of_clients_who_do_not_collude() -> None:
    """Against the public, who sees six clients' noise, it would still be within."""
    floor = Floor(max_epsilon=(spent([SUM], 1e-5, "server").epsilon + cost([SUM])) / 2)
    assert spent([SUM], 1e-5, "server").epsilon < cost([SUM])
    assert over_budget(floor, [], [SUM], 0) == "floor-epsilon"


def test_each_unit_has_the_epsilon_for_itself() -> None:
    floor = Floor(max_epsilon=max(cost([SUM]), spent([STEP], 1e-5, "colluders").epsilon) + 1e-6)
    floor.check_budget([], [SUM, STEP], 0)
    assert over_budget(floor, [STEP] * 9, [SUM], 9) == "floor-epsilon"


def test_a_budget_used_up_in_one_unit_is_no_leave_to_go_on_in_the_other() -> None:
    floor = Floor(max_epsilon=cost([SUM] * 2) + 1e-6)
    floor.check_budget([SUM] * 2, [STEP], 2)
    assert over_budget(floor, [SUM] * 3, [STEP], 3) == "floor-epsilon"


def test_epsilon_is_meant_at_the_floors_own_delta() -> None:
    lax = spent([SUM], 0.1, "colluders").epsilon
    assert over_budget(Floor(max_epsilon=lax + 1e-6), [], [SUM], 0) == "floor-epsilon"
    Floor(max_epsilon=lax + 1e-6, max_delta=0.1).check_budget([], [SUM], 0)


def test_a_floor_may_insist_on_a_unit() -> None:
    assert refusal(Floor(units=frozenset({"client"})), plan()).code == "floor-unit"


def test_what_the_server_noises_by_itself_has_no_epsilon_against_it() -> None:
    central = Use(1, 0, "client", "update", DiscreteGaussian(1e9, 1.0), "central", 6)
    assert over_budget(Floor(max_epsilon=1e9), [], [central], 0) == "floor-epsilon"


def test_openings_are_counted_and_the_next_is_refused() -> None:
    floor = Floor(max_openings=3)
    floor.check_budget([], [], 2)
    assert over_budget(floor, [], [], 3) == "floor-openings"


def test_a_floor_with_an_epsilon_refuses_a_plan_without_a_unit() -> None:
    assert refusal(Floor(max_epsilon=8.0), plan()).code == "floor-epsilon"
    private = Plan(
        run={"name": "digits", "rounds": 20},
        cohort={"max_clients": 10, "min_survivors": 6},
        privacy={"unit": "client", "placement": "distributed", "noise_multiplier": 8.0, "delta": 1e-3},
    )
    Floor(max_epsilon=8.0).check_plan(private)


@pytest.mark.parametrize(
    "text", ["max_epsilon = 0.0", "max_epsilon = -1.0", "max_epsilon = inf", "max_epsilon = nan"]
)
def test_a_budget_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "floor.toml").write_text(f"{text}\nmax_openings = 0\n")
    with pytest.raises(PlanError) as caught:
        Floor.load(tmp_path / "floor.toml")
    assert {problem.path for problem in caught.value.problems} == {"max_epsilon", "max_openings"}
