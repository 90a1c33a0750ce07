"""The experiment the demo runs."""

import subprocess
import sys

import numpy as np

from secagg.cli.demo import setting
from secagg.cli.demo.network import initial_weights
from secagg.update import Task

CONFIG = {
    "epochs": setting.EPOCHS,
    "learning_rate": setting.LEARNING_RATE,
    "batch_size": setting.BATCH_SIZE,
}


def test_the_plan_hands_the_train_function_what_it_needs() -> None:
    plan = setting.plan()
    assert plan.task_config() == CONFIG
    assert plan.run.rounds == setting.ROUNDS and plan.cohort.max_clients == len(setting.NAMES)
    assert all(plan.cohort.admits(name) for name in setting.NAMES)


def test_a_client_asked_twice_for_a_round_returns_the_same_update_and_another_for_the_next() -> None:
    train = setting.train_function("hospital-2", 0)
    once, again, later = (
        train(Task(number, 20, initial_weights(0), CONFIG)).weights["hidden.weight"] for number in (1, 1, 2)
    )
    assert np.array_equal(once, again) and not np.array_equal(once, later)


def test_a_client_alone_is_far_from_the_pooled_model() -> None:
    alone, pooled = setting.alone(0, rounds=4), setting.pooled(0, rounds=4)
    assert set(alone) == set(setting.NAMES)
    assert {len(curve) for curve in (pooled, *alone.values())} == {4}
    assert pooled[-1] > 0.93 > np.mean([curve[-1] for curve in alone.values()]) + 0.15


def test_averaging_by_hand_comes_close_to_the_pooled_model() -> None:
    weights = initial_weights(0)
    trains = [setting.train_function(name, 0) for name in setting.NAMES]
    for number in range(1, 9):
        updates = [train(Task(number, 20, weights, CONFIG)).weights for train in trains]
        weights = {name: np.mean([update[name] for update in updates], axis=0) for name in weights}
    assert setting.test_accuracy(weights) > 0.92


def test_importing_the_demo_loads_no_framework() -> None:
    code = (
        "import sys, secagg.cli.demo.setting, secagg.cli.demo.pictures; "
        "sys.exit(bool({'sklearn', 'scipy', 'torch', 'matplotlib', 'grpc'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
