"""A whole run in one process: the same to the bit with masks and without, and a plain federated average."""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg.coordinator import NotEnoughClients
from secagg.encoding.packing import unpack
from secagg.errors import RunError, UpdateError
from secagg.frames import Frame, Refusal, Reply
from secagg.masking.messages import MaskReply
from secagg.plan import Plan
from secagg.protections import codec_of
from secagg.simulation import SimulationResult, named_clients
from secagg.update import Task, Train, Update
from secagg.weights import Weights
from tests.arrays import models
from tests.chi_square import looks_uniform
from tests.cohort import seeded
from tests.scripted_link import STEP, in_another_process, initial_weights, mover, name_of, who


def a_plan(rounds: int = 1, clients: int = 3, **changes: Mapping[str, Any]) -> Plan:
    tables: dict[str, dict[str, Any]] = {
        "run": {"name": "digits", "rounds": rounds},
        "cohort": {"max_clients": clients},
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table}
    return Plan(**tables)  # type: ignore[arg-type]


def same_rounding(name: str) -> Callable[[int], bytes]:
    return seeded(int.from_bytes(name.encode(), "big"))


def movers(n: int) -> dict[str, Train]:
    return {name_of(index): mover(name_of(index)) for index in range(n)}


def assert_same_bits(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape), name
        assert array.tobytes() == other[name].tobytes(), name


# -- the same sum, with masks and without, and by hand ----------------------------------------------------


@st.composite
def trainings(draw: st.DrawFn) -> tuple[Weights, Plan, list[tuple[int, int]]]:
    """A model, a plan for it, and for each client a seed of its deltas and its number of examples."""
    weights = draw(models())
    clients = draw(st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 60)), min_size=3, max_size=5))
    norms = st.sampled_from([0.25, 1.0, 7.5])
    patterns = draw(st.lists(st.sampled_from(["a", "b.*", "*weight", "z*"]), max_size=2, unique=True))
    plan = a_plan(
        rounds=2,
        clients=len(clients),
        aggregation={
            "method": draw(st.sampled_from(["fedavg", "fedavgm"])),
            "weighting": draw(st.sampled_from(["uniform", "examples"])),
            "max_examples": 50,
            "server_learning_rate": draw(st.sampled_from([1.0, 0.5])),
        },
        encoding={
            "clip_norm": draw(norms),
            "precision": 1e-7,
            "group": [{"match": pattern, "clip_norm": draw(norms)} for pattern in patterns],
        },
        metrics={"loss": {"min": 0.0, "max": 10.0}},
    )
    return weights, plan, clients


def deltas_of(seed: int, weights: Weights) -> list[Weights]:
    """What a client with this seed adds in each of two rounds, somewhere around the clip norms."""
    source = np.random.default_rng(seed)
    return [{n: source.normal(0, 0.5, array.shape) for n, array in weights.items()} for _ in range(2)]


def trainers(weights: Weights, clients: Sequence[tuple[int, int]]) -> list[Train]:
    def trainer(seed: int, examples: int) -> Train:
        deltas = [{n: np.asarray(d) for n, d in one.items()} for one in deltas_of(seed, weights)]
        return lambda task: Update(
            delta=deltas[task.round - 1], num_examples=examples, metrics={"loss": seed % 7}
        )

    return [trainer(*client) for client in clients]


@settings(max_examples=12)
@given(trainings())
def test_with_masks_and_without_the_weights_are_the_same_to_the_last_bit(
    training: tuple[Weights, Plan, list[tuple[int, int]]],
) -> None:
    weights, plan, clients = training
    masked, plain = (
        secagg.simulate(weights, plan, trainers(weights, clients), masks=masks, rounding=same_rounding)
        for masks in (True, False)
    )
    assert (masked.masked, plain.masked) == (True, False)
    assert_same_bits(masked.weights, plain.weights)
    assert masked.history == plain.history


@settings(max_examples=25)
@given(trainings())
def test_a_run_is_a_federated_average_of_clipped_updates_within_the_precision(
    training: tuple[Weights, Plan, list[tuple[int, int]]],
) -> None:
    weights, plan, clients = training
    result = secagg.simulate(weights, plan, trainers(weights, clients), masks=False)
    aggregation, uniform = plan.aggregation, plan.aggregation.weighting == "uniform"
    counts = [1 if uniform else min(examples, 50) for _, examples in clients]
    expected = {name: array.astype(np.float64) for name, array in weights.items()}
    velocity = {name: np.zeros(array.shape) for name, array in weights.items()}
    momentum = aggregation.momentum if aggregation.method == "fedavgm" else 0.0
    for round in range(2):
        if sum(counts) == 0:
            assert result.history[round].code == "example-weight-zero"
            continue
        clipped = [clip(deltas_of(seed, weights)[round], plan) for seed, _ in clients]
        for name in weights:
            mean = sum(n * one[name] for n, one in zip(counts, clipped, strict=True)) / sum(counts)
            velocity[name] = momentum * velocity[name] + mean
            expected[name] = expected[name] + aggregation.server_learning_rate * velocity[name]
        loss = sum(n * (seed % 7) for n, (seed, _) in zip(counts, clients, strict=True)) / sum(counts)
        assert result.history[round].metrics["loss"] == pytest.approx(loss, abs=1e-3)
    # A rounding step of each client, as large as the cap over what they weigh; and the floats' own.
    steps = 3 * plan.encoding.precision * len(clients) * (1 if uniform else 50) / max(sum(counts), 1)
    for name, array in result.weights.items():
        own = 4 * float(np.finfo(array.dtype).eps) * (1 + np.abs(expected[name])) + 1e-5
        assert (np.abs(array - expected[name]) <= steps + own).all(), name


def clip(delta: Weights, plan: Plan) -> Weights:
    """Each group of arrays to its own norm; the first pattern that matches counts."""
    groups = [(group.match, group.clip_norm) for group in plan.encoding.group]
    groups.append(("*", plan.encoding.clip_norm))
    of = {name: next(i for i, (match, _) in enumerate(groups) if fnmatchcase(name, match)) for name in delta}
    clipped = {}
    for name, array in delta.items():
        norm = math.sqrt(sum(float((delta[other] ** 2).sum()) for other in delta if of[other] == of[name]))
        clipped[name] = array * min(1.0, groups[of[name]][1] / norm) if norm else array
    return clipped


# -- what the server could see ----------------------------------------------------------------------------


def uploads_of(masks: bool, weights: Weights, plan: Plan, train: Train) -> list[bytes]:
    """The bodies of the vectors that reach the server."""
    seen: list[bytes] = []

    def tap(sender: str, receiver: str, frame: Frame) -> None:
        if isinstance(frame, Reply) and frame.stage in ("mask", "upload"):
            body = bytes(frame.body)
            seen.append(bytes(MaskReply.from_bytes(body).vector) if masks else body)

    secagg.simulate(weights, plan, [train] * 3, masks=masks, tap=tap)
    return seen


def test_an_unmasked_upload_is_the_update_and_a_masked_one_looks_uniform() -> None:
    weights = {"w": np.zeros(20_000, np.float32)}
    plan, update = a_plan(), np.linspace(-0.001, 0.001, 20_000).astype(np.float32)
    codec = codec_of(plan, weights)

    def train(task: Task) -> Update:
        return Update({"w": update})

    for body in uploads_of(False, weights, plan, train):
        vector = unpack(body, codec.length, codec.bits)
        decoded = codec.decode(vector)
        assert decoded.mean is not None
        np.testing.assert_allclose(decoded.mean["w"], update, atol=1e-6)
        assert not looks_uniform(vector >> (codec.bits - 8), 256)
    for body in uploads_of(True, weights, plan, train):
        vector = unpack(body, codec.length, codec.bits)
        assert looks_uniform(vector >> (codec.bits - 8), 256)
        assert looks_uniform(vector & 255, 256)


# -- clients ----------------------------------------------------------------------------------------------


def names_seen(clients: Any, plan: Plan) -> list[str]:
    seen: dict[str, None] = {}
    secagg.simulate(
        initial_weights(),
        plan,
        clients,
        masks=False,
        tap=lambda sender, receiver, frame: seen.update({sender: None}),
    )
    return sorted(seen.keys() - {"server"})


def test_clients_of_a_sequence_are_numbered_and_those_of_a_mapping_keep_their_names() -> None:
    train = mover("client-000")
    assert names_seen([train] * 3, a_plan()) == ["client-0", "client-1", "client-2"]
    wanted = [f"client-{index:02d}" for index in range(11)]
    assert names_seen([train] * 11, a_plan(clients=11)) == wanted
    assert names_seen({"b": train, "a": train, "c": train}, a_plan()) == ["a", "b", "c"]
    assert named_clients([]) == {}


def test_only_clients_that_the_plan_admits_take_part() -> None:
    plan = a_plan(cohort={"clients": ["client-00[0-2]"]})
    for masks in (True, False):
        assert who(secagg.simulate(initial_weights(), plan, movers(5), masks=masks).weights) == [
            name_of(index) for index in range(3)
        ]


@pytest.mark.parametrize("clients", [[], [mover("client-000")] * 2], ids=["none", "two"])
def test_too_few_clients_are_refused_by_name(clients: list[Train]) -> None:
    with pytest.raises(NotEnoughClients, match="not-enough-clients"):
        secagg.simulate(initial_weights(), a_plan(), clients, masks=False)


def test_of_more_clients_than_a_cohort_a_cohort_is_drawn() -> None:
    result = secagg.simulate(initial_weights(), a_plan(clients=5), movers(9))
    assert len(who(result.weights)) == 5


def test_three_hundred_clients_without_masks_are_all_in_the_sum() -> None:
    def train(task: Task) -> Update:
        return Update({"w": task.weights["w"] + 0.5})

    plan = a_plan(rounds=2, clients=300)
    result = secagg.simulate({"w": np.zeros(4)}, plan, [train] * 300, masks=False)
    assert [report.survivors for report in result.history] == [300, 300]
    np.testing.assert_array_equal(result.weights["w"], np.ones(4))


# -- where they train -------------------------------------------------------------------------------------


def test_without_an_executor_they_train_one_by_one_in_the_calling_thread() -> None:
    threads = []

    def train(task: Task) -> Update:
        threads.append(threading.current_thread())
        return Update(task.weights)

    secagg.simulate(initial_weights(), a_plan(), [train] * 3)
    assert threads == [threading.current_thread()] * 3


def test_with_threads_they_train_at_the_same_time() -> None:
    together = threading.Barrier(3)

    def meeting(name: str) -> Train:
        def train(task: Task) -> Update:
            together.wait(timeout=30)
            return mover(name)(task)

        return train

    clients = {name: meeting(name) for name in movers(3)}
    with ThreadPoolExecutor(3) as executor:
        result = secagg.simulate(initial_weights(), a_plan(), clients, executor=executor)
    assert who(result.weights) == list(clients)


def test_with_processes_they_train_elsewhere_and_nothing_else_changes() -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        result = secagg.simulate(
            {"elsewhere": np.zeros(2)}, a_plan(), [in_another_process] * 3, executor=executor, masks=False
        )
    np.testing.assert_array_equal(result.weights["elsewhere"], [1.0, 0.0])


def test_with_threads_the_weights_are_the_same_to_the_last_bit() -> None:
    plan = a_plan(rounds=2, aggregation={"method": "fedavgm"})
    alone = secagg.simulate(initial_weights(), plan, movers(3), rounding=same_rounding)
    with ThreadPoolExecutor(3) as executor:
        threads = secagg.simulate(
            initial_weights(), plan, movers(3), executor=executor, rounding=same_rounding
        )
    assert_same_bits(alone.weights, threads.weights)


# -- what may go wrong ------------------------------------------------------------------------------------


class Overfitted(Exception):
    """A user's own."""


def failing(task: Task) -> Update:
    raise Overfitted("no more of this")


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("threads", [0, 2])
def test_a_train_function_that_raises_ends_it_at_once_and_the_client_is_named(
    masks: bool, threads: int
) -> None:
    clients = {**movers(3), "client-001": failing}
    executor: Executor | None = ThreadPoolExecutor(threads) if threads else None
    try:
        with pytest.raises(UpdateError, match=r"'client-001'.*no more of this") as caught:
            secagg.simulate(initial_weights(), a_plan(rounds=9), clients, masks=masks, executor=executor)
    finally:
        if executor is not None:
            executor.shutdown()
    assert caught.value.code == "train-failed"
    causes, error = [], caught.value.__cause__
    while error is not None:
        causes.append(type(error))
        error = error.__cause__
    assert Overfitted in causes


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (lambda task: None, "update-type"),
        (lambda task: Update({"who": task.weights["who"]}), "update-missing"),
        (
            lambda task: Update({**task.weights, "who": task.weights["who"] * np.nan}),
            "update-not-finite",
        ),
    ],
    ids=["None", "an array missing", "NaN"],
)
def test_an_update_that_cannot_be_aggregated_ends_it_with_the_client_and_the_reason(
    update: Train, code: str
) -> None:
    clients = {**movers(3), "client-002": update}
    with pytest.raises(UpdateError, match=rf"'client-002'.*\[{code}\]"):
        secagg.simulate(initial_weights(), a_plan(), clients, masks=False)


def test_after_a_failure_nobody_else_is_asked_to_train() -> None:
    trained = []

    def train(task: Task) -> Update:
        trained.append(task.round)
        return Update(task.weights)

    with pytest.raises(UpdateError):
        secagg.simulate(initial_weights(), a_plan(), {"a": train, "b": failing, "c": train}, masks=False)
    assert trained == [1]


def test_an_aggregate_that_returns_nonsense_is_refused_by_name() -> None:
    with pytest.raises(RunError, match="aggregate-invalid"):
        secagg.simulate(
            initial_weights(),
            a_plan(),
            movers(3),
            masks=False,
            aggregate=lambda state, weights, mean: (state, {}),  # type: ignore[arg-type]
        )


# -- the model --------------------------------------------------------------------------------------------


def test_integer_and_local_arrays_stay_and_floats_of_any_size_and_shape_keep_theirs() -> None:
    weights: Weights = {
        "scalar": np.array(1.0, np.float32),
        "half": np.ones(3, np.float16),
        "double": np.ones((2, 2), np.float64),
        "empty": np.zeros((0, 3), np.float32),
        "count": np.array([7, 8], np.int64),
        "head.bias": np.ones(2, np.float32),
    }

    def train(task: Task) -> Update:
        return Update({name: array + array.dtype.type(1) for name, array in task.weights.items()})

    plan = a_plan(rounds=2, training={"local": ["head.*"]}, encoding={"clip_norm": 8.0})
    for masks in (True, False):
        result = secagg.simulate(weights, plan, [train] * 3, masks=masks)
        for name, array in result.weights.items():
            stays = name in ("count", "head.bias")
            np.testing.assert_allclose(array, weights[name] + (0 if stays else 2), atol=1e-5)
            assert isinstance(array, np.ndarray)
            assert (array.dtype, array.shape) == (weights[name].dtype, weights[name].shape)


def test_what_the_caller_gave_is_not_changed_and_training_in_place_works() -> None:
    def train(task: Task) -> Update:
        for array in task.weights.values():
            array += array.dtype.type(1)
        return Update(task.weights)

    weights: Weights = {"w": np.zeros(4), "n": np.array(3)}
    result = secagg.simulate(weights, a_plan(rounds=3, encoding={"clip_norm": 4.0}), [train] * 3, masks=False)
    np.testing.assert_array_equal(weights["w"], np.zeros(4))
    np.testing.assert_array_equal(result.weights["w"], np.full(4, 3.0))
    assert (weights["n"], result.weights["n"]) == (3, 3)


# -- what a train function is given, and what comes back --------------------------------------------------


def test_a_task_says_which_round_it_is_and_what_the_plan_wants_and_nobody_is_late() -> None:
    tasks: list[Task] = []

    def train(task: Task) -> Update:
        tasks.append(task)
        assert not task.cancelled()
        return Update(task.weights)

    training = {"epochs": 2, "optimiser": {"name": "sgd", "rate": 0.1}, "local": ["x"]}
    plan = a_plan(rounds=2, training=training, cohort={"train_deadline": "1ms"})
    secagg.simulate(initial_weights(), plan, [train] * 3, masks=False)
    assert [(task.round, task.rounds) for task in tasks] == [(1, 2)] * 3 + [(2, 2)] * 3
    for task in tasks:
        assert task.config["epochs"] == 2
        assert task.config["optimiser"] == {"name": "sgd", "rate": 0.1}
        assert task.deadline == math.inf
        assert_same_bits({"steps": task.weights["steps"]}, {"steps": initial_weights()["steps"]})


def test_each_client_has_its_own_copy_of_the_config() -> None:
    def train(task: Task) -> Update:
        assert task.config.pop("epochs") == 2
        task.config["optimiser"]["rate"] = 9.0
        return Update(task.weights)

    training = {"epochs": 2, "optimiser": {"rate": 0.1}}
    secagg.simulate(initial_weights(), a_plan(rounds=2, training=training), [train] * 3, masks=False)


def test_the_run_is_kept_where_it_is_asked_for_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    nowhere = secagg.simulate(initial_weights(), a_plan(), movers(3), masks=False)
    assert nowhere.run_dir is None and not any((tmp_path / "temporary").iterdir())
    kept = secagg.simulate(initial_weights(), a_plan(rounds=2), movers(3), runs=tmp_path / "runs")
    assert kept.run_dir is not None and kept.run_dir.parent == tmp_path / "runs"
    assert not any((tmp_path / "temporary").iterdir())
    assert_same_bits(
        secagg.weights.load(kept.run_dir / "checkpoints" / "round-0002.safetensors"), kept.weights
    )
    assert Plan.load(kept.run_dir / "plan.toml") == a_plan(rounds=2)


def test_each_round_is_reported_as_it_ends_with_the_servers_own_evaluation() -> None:
    reported: list[Any] = []

    def moved(weights: Weights) -> dict[str, float]:
        return {"moved": float(weights["who"].sum())}

    result = secagg.simulate(
        initial_weights(), a_plan(rounds=3), movers(3), masks=False, evaluate=moved, on_round=reported.append
    )
    assert tuple(reported) == result.history
    assert [report.evaluation["moved"] for report in result.history] == pytest.approx(
        [STEP, 2 * STEP, 3 * STEP]
    )


def test_a_users_aggregate_takes_the_place_of_the_plans() -> None:
    def backwards(state: Any, weights: Weights, mean: Mapping[str, Any]) -> Any:
        return state, {**weights, **{name: weights[name] - mean[name] for name in mean}}

    result = secagg.simulate(initial_weights(), a_plan(), movers(3), aggregate=backwards)
    np.testing.assert_allclose(result.weights["who"][:3], -STEP / 3, rtol=1e-12)


def test_a_plan_without_protection_needs_no_masks_and_says_so() -> None:
    result: SimulationResult = secagg.simulate(
        initial_weights(), a_plan(protection={"kind": "none"}), movers(3), masks=True
    )
    assert not result.masked and len(who(result.weights)) == 3


def test_nobody_refuses_and_nobody_is_late_in_a_simulation(caplog: pytest.LogCaptureFixture) -> None:
    frames: list[Frame] = []
    secagg.simulate(initial_weights(), a_plan(rounds=2), movers(3), tap=lambda *seen: frames.append(seen[2]))
    assert not any(isinstance(frame, Refusal) for frame in frames)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
