"""Both runs in one process, beside a model that was standardised and trained on the pooled patients.

python compare.py
"""

from __future__ import annotations

import json
from pathlib import Path

import hospital
import numpy as np

import secagg

HERE = Path(__file__).parent


def run(
    plan: str, start: dict[str, np.ndarray], clients: dict[str, secagg.update.Train]
) -> dict[str, np.ndarray]:
    return secagg.simulate(start, secagg.Plan.load(HERE / plan), clients).weights


def moments_of(features: np.ndarray) -> dict[str, np.ndarray]:
    scaled = features / hospital.LARGEST
    return {"mean": scaled.mean(axis=0), "square": (scaled**2).mean(axis=0)}


def compare() -> dict[str, float]:
    training, test = hospital.everyone()
    own = {name: hospital.patients_of(name) for name in hospital.NAMES}
    common = run(
        "moments.toml", hospital.START_OF_MOMENTS, {name: hospital.moments(one) for name, one in own.items()}
    )
    truth = moments_of(training.features)

    def federated(moments: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        trainers = {name: hospital.trainer(one, moments[name]) for name, one in own.items()}
        return run("training.toml", hospital.START_OF_TRAINING, trainers)

    summed = federated(dict.fromkeys(own, common))
    apart = federated({name: moments_of(one.features) for name, one in own.items()})
    plan = secagg.Plan.load(HERE / "training.toml")
    steps = plan.run.rounds * plan.task_config()["steps"]
    pooled = hospital.descend(
        hospital.START_OF_TRAINING,
        hospital.standardised(training.features, truth),
        training.malignant,
        steps,
        plan.task_config()["rate"],
    )
    deviation, exact = (np.sqrt(one["square"] - one["mean"] ** 2) for one in (common, truth))
    return {
        "largest_relative_error_of_a_deviation": float(np.max(np.abs(deviation / exact - 1))),
        "pooled": hospital.accuracy(pooled, test, truth),
        "federated": hospital.accuracy(summed, test, common),
        "federated_each_standardised_alone": hospital.accuracy(apart, test, truth),
    }


if __name__ == "__main__":
    print(json.dumps(compare(), indent=2))
