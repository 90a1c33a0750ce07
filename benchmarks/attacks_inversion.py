"""How near gradient inversion comes, attack by attack, beside chance; each against the figure it must reach.

    python benchmarks/attacks_inversion.py --json

    analytic       one crop, softmax regression: from the gradient, and from one client's update in a real
                   unprotected round at precision 1e-9
    deep-leakage   one image, sigmoid and tanh LeNet, labels recovered: 8 restarts of 800 L-BFGS iterations;
                   `mse` is that of the restart with the smallest matching loss
    inverting      10 crops one by one, the ReLU network, labels recovered: 1 500 steps; `psnr` is the median
    fedavg         digits, the ReLU network, labels estimated: by local steps x batch; nothing to reach;
                   500 steps of signed Adam, which at 8x8 are enough

Networks are untrained. Crops are `photographs(10, seed)`; labels are 0 to 9 in order. `constant` and `guess`
are chance: the best constant colour, and other images of the set; both in dB, as the ceiling. `success` is
the share of images at 27 dB or above, with Wilson's interval. `seconds` are of CPU time on one thread, for
each image; `passes` is the same in forward and backward passes of one image, timed in the same run, for
machines differ. Exits with 1 unless every figure that has a limit reaches it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

import secagg
from secagg_attacks.data.digits import digits
from secagg_attacks.data.photographs import photographs
from secagg_attacks.images.chance import best_constant, random_guess
from secagg_attacks.images.matching import label_accuracy, match, success_rate
from secagg_attacks.images.measures import CEILING_PSNR, Floats
from secagg_attacks.inversion.analytic import analytic_linear
from secagg_attacks.inversion.cosine import inverting_gradients
from secagg_attacks.inversion.descent import Descent
from secagg_attacks.inversion.gradients import gradient_of_step
from secagg_attacks.inversion.matching import deep_leakage
from secagg_attacks.inversion.unrolled import LocalSteps, fedavg_inversion
from secagg_attacks.models import linear, relu_convnet, sigmoid_lenet, tanh_lenet
from secagg_attacks.views import capture

CLASSES: Final = 10
CROPS: Final = 10
ANALYTIC_MSE: Final = 1e-10
DEEP_LEAKAGE_MSE: Final = 1e-4
INVERTING_DB: Final = 27.0
PRECISION: Final = 1e-9
TIMED_PASSES: Final = 100
FEDAVG: Final = ((1, 4, 1), (2, 2, 1), (4, 1, 1), (4, 4, 4), (1, 8, 1), (2, 4, 1), (8, 1, 1), (8, 4, 4))
FEDAVG_STEPS: Final = 500
"""Local steps, batch, epochs."""


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    names = [name for name, _ in model.named_parameters()]
    loss = nn.functional.cross_entropy(model(x), y)
    return dict(zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True))


def chance(originals: Floats, pool: Floats, seed: int) -> dict[str, float]:
    return {
        "constant": round(float(np.median(best_constant(originals).psnr)), 2),
        "guess": round(float(np.median(random_guess(originals, pool, seed).psnr)), 2),
    }


def analytic(crops: Floats, pool: Floats, seed: int) -> Iterator[dict[str, Any]]:
    x, y = torch.from_numpy(crops[:1]), torch.tensor([0])
    model = linear(x[0].numel(), CLASSES, seed)
    for case, seen in (
        ("analytic", gradient(model, x, y)),
        ("analytic, real round", gradient_of_step(_upload(model, x, y), 1.0)),
    ):
        begin = time.process_time()
        found = analytic_linear(model, seen, tuple(x.shape))
        mse = float(match(crops[:1], found.images).mse[0])
        yield {
            "case": case,
            "mse": mse,
            "labels": label_accuracy(y, found.labels),
            "seconds": round(time.process_time() - begin, 4),
            **chance(crops[:1], pool, seed),
            "holds": mse < ANALYTIC_MSE,
        }


def _upload(model: nn.Module, x: Tensor, y: Tensor) -> Mapping[str, Any]:
    """What the server of an unprotected round gets of a client that takes one step of rate 1 on x."""
    start = {name: value.detach().numpy() for name, value in model.named_parameters()}
    step = {name: -value.numpy() for name, value in gradient(model, x, y).items()}

    def train(_task: secagg.Task) -> secagg.Update:
        return secagg.Update(delta=step, num_examples=1)

    plan = secagg.Plan(
        run={"name": "inversion", "rounds": 1},
        cohort={"max_clients": 3, "min_survivors": 3},
        encoding={"clip_norm": 1000.0, "precision": PRECISION},
        protection={"kind": "none"},
    )
    view = capture(plan, start, dict.fromkeys(("a", "b", "c"), train))
    return view.rounds[0].uploads["a"]


def deep(crops: Floats, pool: Floats, small: Floats, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    for images, others, kind in ((crops, pool, "32x32"), (small[:1], small, "8x8")):
        for network in (sigmoid_lenet, tanh_lenet):
            x, y = torch.from_numpy(images[:1]), torch.tensor([3])
            model = network(x.shape[1], x.shape[2], CLASSES, seed)
            begin = time.process_time()
            found = deep_leakage(model, gradient(model, x, y), tuple(x.shape), seed=seed, steps=steps)
            seconds = time.process_time() - begin
            of = match(images[:1], found.images)
            yield {
                "case": f"deep leakage, {network.__name__}, {kind}",
                "mse": float(of.mse[0]),
                "ssim": round(float(of.ssim[0]), 4),
                "matching_loss": found.matching_loss,
                "matching_losses": [restart.matching_loss for restart in found.restarts],
                "labels": label_accuracy(y, found.labels),
                "seconds": round(seconds, 1),
                **chance(images[:1], others, seed),
                "holds": float(of.mse[0]) < DEEP_LEAKAGE_MSE,
            }


def inverting(crops: Floats, pool: Floats, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    model = relu_convnet(3, crops.shape[2], CLASSES, seed)
    x, y = torch.from_numpy(crops).float(), torch.arange(len(crops)) % CLASSES
    one_pass = seconds_of_a_pass(model, x[:1], y[:1])
    begin = time.process_time()
    found = [
        inverting_gradients(
            model,
            gradient(model, x[i : i + 1], y[i : i + 1]),
            (1, *x.shape[1:]),
            seed=seed,
            recipe=Descent(steps=steps),
        )
        for i in range(len(x))
    ]
    seconds = (time.process_time() - begin) / len(x)
    pairs = [match(crops[i : i + 1], one.images) for i, one in enumerate(found)]
    psnrs = np.array([pair.psnr[0] for pair in pairs])
    reached = success_rate(psnrs, INVERTING_DB)
    yield {
        "case": f"inverting gradients, {len(x)} crops",
        "psnr": round(float(np.median(psnrs)), 2),
        "psnrs": [round(float(value), 2) for value in psnrs],
        "ssim": round(float(np.median([pair.ssim[0] for pair in pairs])), 4),
        "success": {
            "share": reached.share,
            "low": round(reached.interval.low, 3),
            "high": round(reached.interval.high, 3),
        },
        "labels": float(np.mean([one.labels[0] == int(y[i]) for i, one in enumerate(found)])),
        "seconds": round(seconds, 2),
        "passes": round(seconds / one_pass),
        **chance(crops, pool, seed),
        "holds": float(np.median(psnrs)) >= INVERTING_DB,
    }


def seconds_of_a_pass(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """CPU seconds of one forward and backward pass of one image: the median."""
    taken = []
    for _ in range(TIMED_PASSES):
        begin = time.process_time()
        gradient(model, x, y)
        taken.append(time.process_time() - begin)
    return float(np.median(taken))


def fedavg(small: Floats, labels: Any, seed: int, steps: int) -> Iterator[dict[str, Any]]:
    model = relu_convnet(1, small.shape[2], CLASSES, seed, torch.float32)
    for local_steps, batch, epochs in FEDAVG:
        examples = local_steps * batch // epochs
        training = LocalSteps(learning_rate=0.1, examples=examples, batch=batch, epochs=epochs)
        x, y = torch.from_numpy(small[:examples]).float(), torch.from_numpy(labels[:examples])
        begin = time.process_time()
        found = fedavg_inversion(
            model,
            _trained(model, x, y, training),
            tuple(x.shape),
            training,
            seed=seed,
            recipe=Descent(steps=steps, total_variation=1e-3),
        )
        seconds = (time.process_time() - begin) / examples
        of = match(small[:examples], found.images)
        yield {
            "case": f"fedavg, {examples} digits, {training.steps} steps x {batch}",
            "psnr": round(float(np.median(of.psnr)), 2),
            "ssim": round(float(np.median(of.ssim)), 4),
            "matching_loss": found.matching_loss,
            "labels": label_accuracy(y, found.labels),
            "seconds": round(seconds, 2),
            **chance(small[:examples], small, seed),
            "holds": True,
        }


def _trained(model: nn.Module, x: Tensor, y: Tensor, training: LocalSteps) -> dict[str, Tensor]:
    """What PyTorch's own SGD moves the weights by."""
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=training.learning_rate)
    for _ in range(training.epochs):
        for at in range(0, training.examples, training.batch):
            optimizer.zero_grad()
            part = slice(at, at + training.batch)
            nn.functional.cross_entropy(model(x[part]), y[part]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    moved = {name: value.detach() - start[name] for name, value in model.named_parameters()}
    model.load_state_dict(start)
    return moved


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=800, help="of L-BFGS, a restart")
    parser.add_argument("--steps", type=int, default=1500, help="of signed Adam")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pool = photographs(CROPS * 10, options.seed).x.astype(np.float64)
    crops = photographs(CROPS, options.seed).x.astype(np.float64)
    handwritten = digits()
    # scikit-learn's first digits are in the order of their labels, and the attack would guess it right.
    order = np.random.default_rng(options.seed).permutation(len(handwritten.y))
    small, labels = handwritten.images[order].astype(np.float64), handwritten.y[order]
    cases = []
    for case in chain(
        analytic(crops, pool, options.seed),
        deep(crops, pool, small, options.seed, options.iterations),
        inverting(crops, pool, options.seed, options.steps),
        fedavg(small, labels, options.seed, FEDAVG_STEPS),
    ):
        cases.append(case)
        if not options.json:
            figure = f"PSNR {case['psnr']:.1f} dB" if "psnr" in case else f"MSE {case['mse']:.1e}"
            print(
                f"{case['case']:42s} {figure:14s} labels {case['labels']:4.0%}  "
                f"chance {case['constant']:.1f} and {case['guess']:.1f} dB  {case['seconds']:.2f} s"
                f"{'' if case['holds'] else '  DOES NOT HOLD'}"
            )
    if options.json:
        figures = {
            "seed": options.seed,
            "iterations": options.iterations,
            "steps": options.steps,
            "ceiling": round(CEILING_PSNR, 2),
            "torch": torch.__version__,
            "cases": cases,
        }
        print(json.dumps(figures))
    return 0 if all(case["holds"] for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
