"""A view is what the server saw of a real run: not more, and all that an attack needs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import secagg
import secagg.torch
from secagg.encoding.packing import pack
from secagg.enrolment import issue_credentials, new_authority
from secagg.frames import Reply, Request, RoundClosed, TaskFrame
from secagg.masking.messages import MaskReply
from secagg.protections import codec_of
from secagg_attacks.defences import NONE, Defence, Terms, defence
from secagg_attacks.federation import Federation
from secagg_attacks.inversion.analytic import analytic_linear
from secagg_attacks.inversion.gradients import gradient_of_step
from secagg_attacks.statistics.holm import holm
from secagg_attacks.target import Target
from secagg_attacks.views import (
    Account,
    Arrays,
    Recorder,
    ThreatModel,
    View,
    ViewError,
    capture,
    differences,
    load,
    save,
)
from secagg_attacks.views.uploads import read_upload
from tests.attacks.digit_targets import target

PROTECTED = ("masks", "bfv", "ckks")
MODEL = {"weight": np.zeros((3, 4)), "bias": np.zeros(3), "steps": np.zeros(1, dtype=np.int64)}
TERMS = Terms(clients=4, rounds=2)


def steady(index: int) -> secagg.Train:
    """A client whose update is the same in every round."""
    rng = np.random.default_rng(index)
    delta = {"weight": rng.standard_normal((3, 4)), "bias": rng.standard_normal(3)}
    return lambda task: secagg.Update(delta=delta)


CLIENTS = {f"client-{index}": steady(index) for index in range(4)}
DELTAS = {name: train(secagg.Task(1, 1, {})).delta or {} for name, train in CLIENTS.items()}


def seen(chosen: Defence = NONE, terms: Terms = TERMS, without: str = "", **tables: Any) -> View:
    plan = chosen.plan(terms)
    if tables:
        plan = secagg.Plan(**{**plan.model_dump(exclude_none=True), **tables})
    return capture(plan, MODEL, {name: train for name, train in CLIENTS.items() if name != without})


def assert_alike(found: Arrays, expected: Arrays, atol: float = 1e-8) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol)


def mean_of(names: list[str]) -> Arrays:
    return {part: np.mean([DELTAS[name][part] for name in names], axis=0) for part in ("weight", "bias")}


# -- what is in it ------------------------------------------------------------------------------------------


def test_without_protection_each_upload_is_the_clients_update() -> None:
    view = seen()
    for each in view.rounds:
        assert set(each.uploads) == set(CLIENTS)
        for name, upload in each.uploads.items():
            assert_alike(upload, DELTAS[name])


@pytest.mark.parametrize("kind", PROTECTED)
def test_under_protection_no_upload_is_near_its_update_and_the_mean_is_the_same(kind: str) -> None:
    view = seen(defence(kind))
    assert (view.protection, view.clients) == (kind, tuple(CLIENTS))
    for each in view.rounds:
        assert each.mean is not None
        assert_alike(each.mean, mean_of(list(CLIENTS)), atol=1e-4)
        assert each.cohort == tuple(CLIENTS)
        for name, upload in each.uploads.items():
            assert {part: array.shape for part, array in upload.items()} == {"weight": (3, 4), "bias": (3,)}
            assert np.linalg.norm(upload["weight"] - DELTAS[name]["weight"]) > 100


@pytest.mark.parametrize("kind", PROTECTED)
def test_protected_uploads_fill_their_range_evenly_and_differ_each_time(kind: str) -> None:
    wide = {"weight": np.zeros(4000)}
    plan = defence(kind).plan(Terms(clients=3, rounds=2))
    train = lambda task: secagg.Update(delta={"weight": np.ones(4000)})  # noqa: E731
    view = capture(plan, wide, [train] * 3)
    uploads = [upload["weight"] for each in view.rounds for upload in each.uploads.values()]
    codec = codec_of(plan, wide)
    most = 2.0 ** (codec.bits - 1) / codec.settings.scale if kind == "masks" else 1000 / np.sqrt(4000 / 3)
    for upload in uploads:
        assert abs(upload).max() <= most
        counts = np.histogram(upload, bins=8, range=(-most, most))[0]
        assert abs(counts - 500).max() < 6 * np.sqrt(500)
    assert len({upload.tobytes() for upload in uploads}) == 6
    assert abs(np.corrcoef(uploads)[np.triu_indices(6, 1)]).max() < 6 / np.sqrt(4000)


def unmasked(plan: secagg.Plan, update: Arrays) -> Arrays:
    """The upload of a client whose masks and noise add up to nothing, as it is read."""
    codec = codec_of(plan, MODEL)
    vector = codec.encode(update, base=None, num_examples=1, metrics={}, seed=bytes(32)).vector
    if codec.settings.noise is not None:
        vector = vector - codec.encode_nothing(1, bytes(32)).vector  # the same noise, of the same seed
    body = MaskReply((), b"").head() + pack(vector & vector.dtype.type((1 << codec.bits) - 1), codec.bits)
    return read_upload(plan, MODEL, body)


def test_an_upload_whose_masks_are_not_there_is_read_as_the_update_itself() -> None:
    for update in DELTAS.values():
        assert_alike(unmasked(defence("masks").plan(TERMS), update), update, atol=1e-9)


def test_an_upload_under_noise_is_read_at_the_length_it_is_clipped_to() -> None:
    update = DELTAS["client-0"]
    length = np.linalg.norm(np.concatenate([array.reshape(-1) for array in update.values()]))
    found = unmasked(defence("masks-client-8").plan(replace(TERMS, noised_clip_norm=0.5)), update)
    expected = {part: array * 0.5 / length for part, array in update.items()}
    assert_alike(found, expected, atol=1e-7)


def test_the_models_of_all_rounds_are_there_with_the_last() -> None:
    view = seen()
    mean = mean_of(list(CLIENTS))
    for passed, model in enumerate([*(each.model for each in view.rounds), view.final]):
        assert_alike({part: model[part] for part in mean}, {part: passed * mean[part] for part in mean})
        assert model["steps"].dtype == np.int64


def test_a_plans_own_optimiser_moves_the_model_as_without_a_recorder() -> None:
    tables = {"aggregation": {"method": "fedavgm", "momentum": 0.5, "server_learning_rate": 2.0}}
    view = seen(**tables)
    plan = secagg.Plan(**{**NONE.plan(TERMS).model_dump(exclude_none=True), **tables})
    alone = secagg.simulate(MODEL, plan, CLIENTS)
    assert_alike(view.final, alone.weights)
    mean = view.rounds[1].mean
    assert mean is not None
    assert_alike(mean, mean_of(list(CLIENTS)))


def test_noise_is_in_the_mean_and_in_the_account() -> None:
    view = seen(defence("masks-client-8"))
    (account,) = view.accounts
    assert view.noised
    assert (account.unit, account.delta) == ("client", 1e-5)
    assert 7 < account.server <= account.colluders <= 8
    first, second = (each.mean for each in view.rounds)
    assert first is not None
    assert second is not None
    assert np.linalg.norm(first["weight"] - second["weight"]) > 0.1
    assert not seen().noised


def test_a_cohort_is_who_is_in_the_sum() -> None:
    terms = Terms(clients=3, rounds=6, min_survivors=3)
    view = capture(NONE.plan(terms), MODEL, CLIENTS)
    assert {len(each.cohort) for each in view.rounds} == {3}
    for each in view.rounds:
        assert each.mean is not None
        assert_alike(each.mean, mean_of(list(each.cohort)))


def test_a_round_that_opened_nothing_has_no_mean() -> None:
    poisson = {"sampling": "poisson", "rate": 0.5, "population": 4, "min_survivors": 2}
    chosen = defence("masks-client-8")
    plan = chosen.plan(replace(TERMS, rounds=12, min_survivors=2))
    tables = plan.model_dump(exclude_none=True)
    view = capture(secagg.Plan(**{**tables, "cohort": {**tables["cohort"], **poisson}}), MODEL, CLIENTS)
    assert view.divisor == 2.0
    assert view.rounds
    for each in view.rounds:
        assert (each.mean is None) == (each.cohort == ())
        assert set(each.uploads) >= set(each.cohort)


def test_an_upload_of_an_attempt_that_failed_is_seen_and_is_in_no_sum() -> None:
    plan = NONE.plan(replace(TERMS, rounds=1, min_survivors=2))
    codec, recorder = codec_of(plan, MODEL), Recorder(plan)
    recorder.hear("server", "client-0", TaskFrame(1, 1, secagg.weights.to_bytes(MODEL)))
    for attempt, name in ((1, "client-0"), (1, "client-1"), (2, "client-0"), (2, "client-2")):
        vector = codec.encode(DELTAS[name], base=None, num_examples=1, metrics={}, seed=bytes(32)).vector
        recorder.hear(name, "server", Reply(1, attempt, "upload", pack(vector, codec.bits)))
    mean = mean_of(["client-0", "client-2"])
    recorder.aggregate({}, dict(MODEL), mean)
    report = secagg.RoundReport(1, 1, "", 2, 3, 2, {}, {})
    (each,) = recorder.view(secagg.simulation.SimulationResult({}, (report,), None, True)).rounds
    assert each.cohort == ("client-0", "client-2")
    assert sorted(each.uploads) == ["client-0", "client-1", "client-2"]
    assert_alike(each.uploads["client-1"], DELTAS["client-1"])
    assert each.mean is not None
    assert_alike(each.mean, mean)


def test_what_is_known_beside_it_goes_with_it() -> None:
    threat = ThreatModel(adversary="malicious", labels="known")
    assert capture(NONE.plan(TERMS), MODEL, CLIENTS, threat).threat == threat
    assert seen().threat == ThreatModel()


def test_a_view_does_not_print_what_is_in_it() -> None:
    view = seen()
    assert repr(view) == f"View('none', 2 rounds, {view.digest[:12]})"


def test_a_seed_gives_the_same_sums_of_the_same_noise_under_new_masks() -> None:
    plan = defence("masks-client-8").plan(TERMS)
    first, again, other = (capture(plan, MODEL, CLIENTS, seed=seed) for seed in (1, 1, 2))
    assert_alike(again.final, first.final, atol=0)
    assert np.linalg.norm(other.final["weight"] - first.final["weight"]) > 0.1
    assert first.digest != again.digest


# -- the digest ---------------------------------------------------------------------------------------------


def test_the_digest_is_of_the_whole_transcript() -> None:
    """Rounding and keys are drawn anew in each run, and so no transcript comes twice."""
    digests = {seen(defence(kind)).digest for kind in ("none", "none", "masks")}
    assert len(digests) == 3
    assert all(len(digest) == 64 for digest in digests)


def test_the_same_frames_have_the_same_digest_and_one_byte_more_another() -> None:
    def digest(body: bytes, sender: str = "alice") -> str:
        recorder = Recorder(NONE.plan(TERMS))
        recorder.hear("server", "alice", Request(1, 1, "confirm", b"ask"))
        recorder.hear(sender, "server", Reply(1, 1, "confirm", body))
        recorder.hear("server", "alice", RoundClosed(1, False))
        return recorder.view(secagg.simulation.SimulationResult({}, (), None, True)).digest

    assert digest(b"yes") == digest(b"yes")
    assert len({digest(b"yes"), digest(b"yes."), digest(b"yes", "bob")}) == 3


# -- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "tables"),
    [
        ("view-weighting", {"aggregation": {"weighting": "examples"}}),
        ("view-weighting", {"aggregation": {"weighting": "public", "weights": {"*": 3}}}),
        (
            "view-plan",
            {
                "encoding": {"clip_norm": 1.0, "precision": 1e-6},
                "privacy": {"unit": "client", "placement": "central", "noise_multiplier": 4.0, "delta": 1e-5},
            },
        ),
    ],
)
def test_a_plan_whose_uploads_are_no_updates_is_refused(code: str, tables: dict[str, Any]) -> None:
    with pytest.raises(ViewError) as caught:
        seen(**tables)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)


@pytest.mark.parametrize("more", [{"ring_bits": 16}, {"adaptive_clipping": {}}])
def test_a_rotated_or_adapting_encoding_is_refused(more: dict[str, Any]) -> None:
    plan = defence("masks-client-8").plan(replace(TERMS, clients=40)).model_dump(exclude_none=True)
    with pytest.raises(ViewError) as caught:
        Recorder(secagg.Plan(**{**plan, "privacy": {**plan["privacy"], **more}}))
    assert caught.value.code == "view-plan"


# -- over real sockets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "masks"])
def test_a_recorder_hears_a_real_server_as_it_hears_a_simulation(tmp_path: Path, kind: str) -> None:
    authority = new_authority("authority")
    plan = defence(kind).plan(TERMS)
    recorder = Recorder(plan)
    floor = secagg.Floor(protections={kind})
    with secagg.Server(
        MODEL,
        plan,
        credentials=issue_credentials("aggregator", "server", authority, hosts=("localhost",)),
        listen="127.0.0.1:0",
        runs=tmp_path,
        tap=recorder.hear,
        aggregate=recorder.aggregate,
    ) as server:
        address = f"localhost:{server.address.rpartition(':')[2]}"
        threads = [
            threading.Thread(
                target=secagg.Client(
                    address, train, credentials=issue_credentials(name, "client", authority), floor=floor
                ).run
            )
            for name, train in CLIENTS.items()
        ]
        for thread in threads:
            thread.start()
        view = recorder.view(server.run())
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    simulated = seen(defence(kind))
    assert (view.protection, view.plan) == (simulated.protection, simulated.plan)
    for each, expected in zip(view.rounds, simulated.rounds, strict=True):
        assert each.cohort == expected.cohort == tuple(CLIENTS)
        assert each.mean is not None
        assert expected.mean is not None
        assert_alike(each.mean, expected.mean)
        if kind == "none":
            for name, upload in each.uploads.items():
                assert_alike(upload, expected.uploads[name])


# -- differencing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROTECTED)
def test_two_sums_that_differ_by_a_member_give_its_update(kind: str) -> None:
    terms = replace(TERMS, rounds=1, min_survivors=3)
    everyone = seen(defence(kind), terms)
    for missing in CLIENTS:
        (found,) = differences(everyone, seen(defence(kind), terms, without=missing))
        assert (found.client, found.larger, found.smaller, found.drift) == (missing, (0, 1), (1, 1), 0.0)
        assert_alike(found.update, DELTAS[missing], atol=1e-3 if kind == "ckks" else 1e-7)


def test_differences_whose_models_had_not_moved_come_first() -> None:
    terms = replace(TERMS, rounds=2, min_survivors=3)
    views = seen(defence("masks"), terms), seen(defence("masks"), terms, without="client-1")
    found = differences(*views)
    assert [one.drift for one in found] == sorted(one.drift for one in found)
    assert [(one.larger, one.smaller, one.drift) for one in found[:1]] == [((0, 1), (1, 1), 0.0)]
    assert len(found) == 4
    assert found[1].drift > 0


def test_noise_on_whole_updates_hides_what_a_difference_gives() -> None:
    terms = replace(TERMS, rounds=1, min_survivors=3)
    noised = defence("masks-client-1")
    (found,) = differences(seen(noised, terms), seen(noised, terms, without="client-2"))
    clipped = DELTAS["client-2"]["weight"] / np.linalg.norm(
        np.concatenate([array.reshape(-1) for array in DELTAS["client-2"].values()])
    )
    assert np.linalg.norm(found.update["weight"] - clipped) > 2


def test_cohorts_that_differ_otherwise_give_nothing() -> None:
    assert differences(seen(), seen()) == ()
    terms = replace(TERMS, rounds=1, clients=3, min_survivors=3)
    assert differences(seen(NONE, terms, without="client-0"), seen(NONE, terms, without="client-1")) == ()
    assert differences() == ()


# -- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["none", "masks-client-8", "bfv"])
def test_a_saved_view_is_the_same_when_it_is_loaded(tmp_path: Path, name: str) -> None:
    view = seen(defence(name))
    save(view, tmp_path / "view")
    found = load(tmp_path / "view")
    for field in ("protection", "plan", "divisor", "threat", "accounts", "digest", "clients"):
        assert getattr(found, field) == getattr(view, field)
    assert found.final.keys() == view.final.keys()
    for mine, theirs in zip(found.rounds, view.rounds, strict=True):
        assert (mine.round, mine.cohort) == (theirs.round, theirs.cohort)
        assert mine.mean is not None
        assert theirs.mean is not None
        for one, other in (
            (mine.model, theirs.model),
            (mine.mean, theirs.mean),
            *((mine.uploads[client], theirs.uploads[client]) for client in view.clients),
        ):
            assert list(one) == list(other)
            for part, array in other.items():
                assert one[part].dtype == array.dtype
                np.testing.assert_array_equal(one[part], array)


def test_a_view_without_sums_or_bounds_can_be_saved(tmp_path: Path) -> None:
    view = seen()
    bare = replace(
        view,
        rounds=tuple(replace(each, mean=None, cohort=()) for each in view.rounds),
        accounts=(Account("client", 1e-5, float("inf"), float("inf")),),
    )
    save(bare, tmp_path)
    assert load(tmp_path).accounts == bare.accounts
    assert [each.mean for each in load(tmp_path).rounds] == [None, None]


def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    save(seen(), tmp_path)
    view = seen(defence("masks"))
    save(view, tmp_path)
    assert load(tmp_path).digest == view.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arrays.npz", "view.json"]


def test_a_folder_without_a_view_is_named() -> None:
    with pytest.raises(ViewError, match=r"view\.json") as caught:
        load("/nowhere")
    assert caught.value.code == "view-missing"


def _change(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((folder / "view.json").read_text())
    change(document)
    (folder / "view.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "view.json").write_text("{"),
        lambda folder: (folder / "view.json").write_text("[]"),
        lambda folder: _change(folder, lambda document: document.pop("rounds")),
        lambda folder: _change(folder, lambda document: document.update(format="secagg-view/2")),
        lambda folder: _change(folder, lambda document: document["final"].update(weight=999)),
        lambda folder: _change(folder, lambda document: document["threat"].update(luck="good")),
        lambda folder: (folder / "arrays.npz").write_bytes(b""),
        lambda folder: (
            save(seen(), folder / "other") or (folder / "other" / "arrays.npz").replace(folder / "arrays.npz")
        ),
    ],
    ids=["torn", "no object", "no rounds", "a later format", "no such array", "a key", "empty", "another's"],
)
def test_a_view_that_is_not_whole_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    save(seen(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(ViewError) as caught:
        load(tmp_path)
    assert caught.value.code == "view-malformed"


# -- an attack that works shows a defence -------------------------------------------------------------------


CLIENTS_ATTACKED = 20
ALPHA = 1e-6
"""Masks and ciphertexts are drawn anew in each run; a right test must not fail one time in a thousand."""


def analytic_errors(of: Target, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each client's only example: mean squared error of what its upload gives away, scaled to 0 to 1."""
    federation = Federation(of, CLIENTS_ATTACKED, per_client=1, seed=5)
    view = federation.observe(defence(name))
    errors = []
    for client in federation.names:
        x, _ = federation.examples_of(client)
        upload = gradient_of_step(view.rounds[0].uploads[client], 1.0)
        found = analytic_linear(of.model, upload, tuple(x.shape), np.array([0])).images
        errors.append(float(((np.clip(found, 0, 1) - x.numpy()) ** 2).mean()))
    return np.array(errors)


def test_the_analytic_attack_wins_without_protection_and_is_at_chance_under_each() -> None:
    """Chance: the same attack on vectors of random numbers. 20 clients a defence, Holm over the defences."""
    from scipy.stats import mannwhitneyu

    linear = target(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double())
    won = analytic_errors(linear, "none")
    assert won.max() < 1e-10
    rng = np.random.default_rng(0)
    x = linear.members[0].numpy()
    guesses = []
    for index in range(200):
        random = {"1.weight": rng.uniform(-1, 1, (10, 64)), "1.bias": rng.uniform(-1, 1, 10)}
        found = analytic_linear(linear.model, random, (1, 1, 8, 8), np.array([0])).images
        guesses.append(float(((np.clip(found, 0, 1) - x[index % len(x)]) ** 2).mean()))
    p_values = [
        mannwhitneyu(errors, guesses, alternative="less").pvalue
        for errors in (won, *(analytic_errors(linear, name) for name in PROTECTED))
    ]
    assert holm(p_values, ALPHA).rejected.tolist() == [True, False, False, False]
