"""What leaks through a sum: five attacks on mean updates, by how many clients are in them.

    python benchmarks/attacks_through_sum.py --json

`mean`: inversion of the mean gradient of n clients with an image each, labels known; the median PSNR in dB
after matching, with both levels of chance. `traps`, `sratta` and `inconsistent` are played on real
participants and sessions, under masks where it says so. `traps`: the share of examples that a malicious
server reads exactly (58.9 dB: all that eight bits hold). `sratta`: examples read exactly, how many of those
given were wrong, and precision and recall of their attribution to clients, over pairs. `cocktail`: PSNR,
and the correlation of each image with its estimate, medians. `inconsistent`: which code stopped a server with
two models, or the squared error of what it got.
`holds` is false, and the exit code 1, where an attack that should work does not, or the other way round.
Figures are of these models, data and settings; an attack that falls off with n proves nothing for n.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from secagg_attacks.data.digits import digits
from secagg_attacks.data.photographs import photographs
from secagg_attacks.defences import Defence, Kind
from secagg_attacks.federation import Federation
from secagg_attacks.images.chance import random_guess
from secagg_attacks.images.matching import match
from secagg_attacks.inversion.descent import Descent
from secagg_attacks.inversion.through_sum.cocktail import unmix
from secagg_attacks.inversion.through_sum.found import EXACT, nearest
from secagg_attacks.inversion.through_sum.inconsistent import Lie, play, silenced, victims_input
from secagg_attacks.inversion.through_sum.mean import MeanAttack, invert_mean, measured
from secagg_attacks.inversion.through_sum.sratta import Observed, agreement, sratta
from secagg_attacks.inversion.through_sum.traps import catch, expected_share, set_trap
from secagg_attacks.local_training import FEDSGD, LocalTraining
from secagg_attacks.models import mlp, relu_convnet
from secagg_attacks.statistics.intervals import wilson
from secagg_attacks.target import Target

DIGIT: Final = (1, 8, 8)
CROP: Final = (3, 32, 32)
MEMBERS: Final = 1000
INK: Final = 16
Figures = dict[str, Any]


def gradient_of(model: nn.Module, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    dtype = next(model.parameters()).dtype
    logits = model(torch.as_tensor(x, dtype=dtype))
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(nn.functional.cross_entropy(logits, torch.as_tensor(y)), parameters)
    return {name: part.numpy() for name, part in zip(names, found, strict=True)}


def of_digits(
    model: nn.Module,
    clients: int,
    per_client: int = 1,
    rounds: int = 1,
    local: LocalTraining = FEDSGD,
    seed: int = 0,
) -> Federation:
    """The first 1 000 digits are dealt; what the server knows of the kind are others."""
    known = digits()
    x, y = known.images.astype(np.float64), known.clean
    target = Target(model, (x[:MEMBERS], y[:MEMBERS]), (x[MEMBERS:], y[MEMBERS:]))
    return Federation(target, clients, rounds, local, per_client, seed)


def mean(sizes: Sequence[int], steps: int, seed: int) -> Iterator[Figures]:
    crops = photographs(200, seed).x
    attacks: tuple[MeanAttack, ...] = ("analytic", "inverting-gradients")
    for attack in attacks:
        for n in sizes:
            model = mlp((3072, 256, 10), seed) if attack == "analytic" else relu_convnet(3, 32, 10, seed)
            x, y = crops[:n], np.arange(n) % 10
            update = {name: -part for name, part in gradient_of(model, x, y).items()}
            begin = time.process_time()
            found = invert_mean(
                model, update, n, CROP, attack, seed=seed, labels=y, recipe=Descent(steps=steps)
            )
            spent = time.process_time() - begin
            levels = measured(x, found, crops, seed)
            median = float(np.median(levels.reached.psnr))
            least = {"analytic": 100.0, "inverting-gradients": 20.0}[attack] if n == 1 else -np.inf
            yield {
                "attack": f"mean-{attack}",
                "clients": n,
                "psnr": round(median, 2),
                "psnr_of_each": [round(float(each), 2) for each in levels.reached.psnr],
                "ssim": round(float(np.median(levels.reached.ssim)), 3),
                "chance_flat": round(float(np.median(levels.flat.psnr)), 2),
                "chance_guess": round(float(np.median(levels.guessed.psnr)), 2),
                "seconds": round(spent, 1),
                "holds": median >= least,
            }


def traps(sizes: Sequence[int], bins: Sequence[int], kinds: Sequence[Kind], seed: int) -> Iterator[Figures]:
    public = digits().images[MEMBERS:]
    for n in sizes:
        for width in bins:
            shares: dict[str, float] = {}
            for kind in kinds:
                model = set_trap(mlp((64, 32, 10), seed), public, width, seed)
                clients = of_digits(model, n, seed=seed)
                (seen,) = clients.observe(Defence(kind)).rounds
                x = clients.examples_of()[0].numpy()
                reached = nearest(x, catch(model, seen.mean or {}, DIGIT).images) >= EXACT
                shares[kind] = float(reached.mean())
                interval = wilson(int(reached.sum()), n)
                yield {
                    "attack": "traps",
                    "protection": kind,
                    "clients": n,
                    "bins": width,
                    "exact": round(shares[kind], 4),
                    "interval": [round(interval.low, 4), round(interval.high, 4)],
                    "expected": round(expected_share(n, width), 4),
                    "holds": shares[kind] == shares[kinds[0]],
                }


def recovered(sizes: Sequence[int], batches: Sequence[int], rounds: int, seed: int) -> Iterator[Figures]:
    each = 20
    for n in sizes:
        for batch in batches:
            model = mlp((64, 256, 10), seed)
            local = LocalTraining(steps=5, batch=batch, learning_rate=0.5)
            clients = of_digits(model, n, each, rounds, local, seed)
            seen = clients.observe(Defence("masks")).rounds
            begin = time.process_time()
            found = sratta(model, [Observed(one.model, one.mean or {}) for one in seen], DIGIT, INK)
            spent = time.process_time() - begin
            truth = np.concatenate([clients.examples_of(name)[0].numpy() for name in clients.names])
            exact = nearest(truth, found.images) >= EXACT
            right = nearest(found.images, truth) >= EXACT
            apart = ((found.images[:, None] - truth[None]) ** 2).sum(axis=(2, 3, 4)).reshape(-1, len(truth))
            precision, recall = agreement(found.groups, apart.argmin(axis=1) // each)
            yield {
                "attack": "sratta",
                "protection": "masks",
                "clients": n,
                "batch": batch,
                "steps": local.steps,
                "rounds": rounds,
                "neurons": 256,
                "examples": len(truth),
                "recovered": int(exact.sum()),
                "wrong": int((~right).sum()),
                "precision": None if np.isnan(precision) else round(precision, 4),
                "recall": None if np.isnan(recall) else round(recall, 4),
                "seconds": round(spent, 1),
                "holds": bool(right.all()) and not precision < 1 and (batch > 1 or bool(exact.any())),
            }


def cocktail(sizes: Sequence[int], seed: int) -> Iterator[Figures]:
    crops = photographs(200, seed).x.astype(np.float64)
    model = mlp((3072, 256, 10), seed)
    for n in sizes:
        x = crops[:n]
        begin = time.process_time()
        found = unmix(model, gradient_of(model, x, np.arange(n) % 10), CROP, seed, n)
        spent = time.process_time() - begin
        reached, guessed = match(x, found.images), random_guess(x, crops, seed)
        pairs = zip(x, found.images[reached.order], strict=True)
        alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in pairs]
        ssim = float(np.median(reached.ssim))
        yield {
            "attack": "cocktail",
            "clients": n,
            "correlation": round(float(np.median(alike)), 4),
            "psnr": round(float(np.median(reached.psnr)), 2),
            "ssim": round(ssim, 3),
            "chance_psnr": round(float(np.median(guessed.psnr)), 2),
            "chance_ssim": round(float(np.median(guessed.ssim)), 3),
            "settled": found.settled,
            "seconds": round(spent, 1),
            "holds": ssim > float(np.median(guessed.ssim)) + 0.2,
        }


def inconsistent(seed: int) -> Iterator[Figures]:
    model = mlp((64, 32, 10), seed)
    clients = of_digits(model, 5, seed=seed)
    victim = clients.names[2]
    truth = clients.examples_of(victim)[0].numpy()[0]
    kinds: tuple[Kind, ...] = ("none", "masks", "bfv", "ckks")
    lies: tuple[Lie, ...] = ("one-context", "own-contexts")
    for kind in kinds:
        for masks in (True, False):
            for lie in lies:
                terms = replace(clients.terms(), clip_norm=100.0)
                silent = silenced(model, clients.initial, DIGIT)
                plan = Defence(kind).plan(terms)
                ended = play(plan, clients.initial, silent, clients.trains(), victim, lie, masks=masks)
                error = (
                    None
                    if ended.blocked
                    else float(((victims_input(model, ended, DIGIT) - truth) ** 2).mean())
                )
                protected = masks and kind != "none"
                yield {
                    "attack": "inconsistent",
                    "protection": kind if masks else f"{kind}, cryptography left out",
                    "clients": 5,
                    "lie": lie,
                    "blocked": ended.blocked,
                    "code": ended.code,
                    "mse": error,
                    "holds": ended.blocked if protected or lie == "one-context" else (error or 0.0) < 1e-6,
                }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 32], help="clients in a mean")
    parser.add_argument("--steps", type=int, default=400, help="of inverting gradients")
    parser.add_argument("--rounds", type=int, default=20, help="that SRATTA sees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("secagg").setLevel(logging.CRITICAL)  # that two models were refused is the result here
    begin = time.process_time()
    cases: list[Figures] = []
    for part in (
        mean(options.sizes, options.steps, options.seed),
        traps((4, 8, 32, 100), (32, 128, 512), ("none", "masks"), options.seed),
        recovered((2, 4, 8), (1, 2, 8), options.rounds, options.seed),
        cocktail((1, 2, 4, 8, 16, 32, 64), options.seed),
        inconsistent(options.seed),
    ):
        for case in part:
            cases.append(case)
            if not options.json:
                print("  ".join(f"{name} {figure}" for name, figure in case.items()), flush=True)
    figures = {
        "seed": options.seed,
        "steps": options.steps,
        "seconds": round(time.process_time() - begin, 1),
        "cases": cases,
    }
    if options.json:
        print(json.dumps(figures))
    return 0 if all(case["holds"] for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
