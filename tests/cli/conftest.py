"""A folder as a user would have it: a plan, a model, a train module, credentials."""

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from secagg.cli import main
from secagg.issuing import issue_folder, new_authority_folder

PLAN = """
[run]
name = "line"
rounds = 2

[cohort]
max_clients = 3
join_deadline = "20s"
train_deadline = "20s"
stage_deadline = "10s"

[training]
rate = 0.1

[encoding]
clip_norm = 5.0

[metrics]
loss = { min = 0.0, max = 10.0 }
"""

PRIVATE_PLAN = f"""{PLAN[: PLAN.index("[metrics]")]}
[privacy]
unit = "client"
placement = "distributed"
noise_multiplier = 4.0
delta = 1e-3
"""
"""Epsilon 0.688 of a round and 1.03 of two, at this delta, against one who colludes with the server."""

CIPHER_PLAN = PLAN.replace(
    "[cohort]", '[protection]\nkind = "bfv"\n[cohort]\ncolluders = 0.0\nadversary = "semi-honest"'
)

MODEL = """
import numpy as np
import secagg

TRUE = np.array([1.0, -2.0, 0.5])
number = 3


def train(task):
    inputs = np.random.default_rng(task.round).normal(size=(50, 3))
    weights = task.weights["w"].astype(np.float64)
    weights -= task.config["rate"] * inputs.T @ (inputs @ (weights - TRUE)) / len(inputs)
    return secagg.Update({"w": weights.astype(np.float32)}, metrics={"loss": 0.123456})


def evaluate(weights):
    return {"distance": float(np.linalg.norm(weights["w"] - TRUE))}


def three():
    return [train] * 3


def named():
    return {f"hospital-{i}": train for i in range(3)}


def two():
    return [train] * 2


def numbers():
    return [1, 2, 3]


def failing(task):
    raise ValueError("no scanner today")


def all_failing():
    return [failing] * 3


def nobodys():
    return [lambda task: secagg.Update({"w": task.weights["w"]}, num_examples=0, metrics={"loss": 0.0})] * 3


class Deep:
    @staticmethod
    def train(task):
        return train(task)
"""


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory) -> Path:
    """`ca/authority` and `certs/NAME` of a server and three clients."""
    folder = tmp_path_factory.mktemp("enrolled")
    new_authority_folder(folder / "ca" / "authority", "authority")
    issue_folder(folder / "ca" / "authority", folder / "certs" / "aggregator", "aggregator", "server")
    for number in range(3):
        name = f"hospital-{number}"
        issue_folder(folder / "ca" / "authority", folder / "certs" / name, name, "client")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, enrolled) -> Path:
    """The current directory; what a test imports from it is forgotten afterwards."""
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "private.toml").write_text(PRIVATE_PLAN)
    (tmp_path / "budget.toml").write_text(PRIVATE_PLAN + "epsilon = 1.0\n")
    (tmp_path / "ciphers.toml").write_text(CIPHER_PLAN)
    (tmp_path / "lines.py").write_text(MODEL)
    (tmp_path / "certs").symlink_to(enrolled / "certs")
    save_file({"w": np.zeros(3, dtype=np.float32)}, tmp_path / "init.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def secagg():
    """Calls the command in this process."""

    def call(*arguments, env=None):
        return CliRunner().invoke(main, [str(argument) for argument in arguments], env=env)

    return call
