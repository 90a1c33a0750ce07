"""Federated against pooled on scikit-learn's digits, over the real protocol in one process.

    python benchmarks/federated_digits.py --seeds 5 --json

For each seed (another init, other shares, other mini-batches): the test accuracy of the network trained on
the pooled data, of the average client that trains alone, and of the model that `secagg.simulate` ends with.
Gaps are in percentage points. Exits with 1 unless the mean gap to the pooled model is at most 1.5, no seed is
above 3, and the mean lead over the average client alone is at least 15.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

import secagg
from secagg.cli.demo import setting
from secagg.cli.demo.network import initial_weights

MEAN_GAP, LARGEST_GAP, LEAD_OVER_ALONE = 1.5, 3.0, 15.0
DECIMALS: Final = 3


@dataclass(frozen=True)
class Outcome:
    """One seed: accuracies in percent, differences in points, the federated run's wall-clock seconds."""

    seed: int
    pooled: float
    alone: float
    federated: float
    gap: float
    lead_over_alone: float
    federated_s: float


def run(seed: int, rounds: int) -> Outcome:
    pooled = 100 * setting.pooled(seed, rounds)[-1]
    alone = 100 * statistics.fmean(curve[-1] for curve in setting.alone(seed, rounds).values())
    started = time.perf_counter()
    result = secagg.simulate(
        initial_weights(seed),
        setting.plan(rounds),
        clients={name: setting.train_function(name, seed) for name in setting.NAMES},
    )
    seconds = time.perf_counter() - started
    federated = 100 * setting.test_accuracy(result.weights)
    return Outcome(
        seed,
        *(
            round(figure, DECIMALS)
            for figure in (pooled, alone, federated, pooled - federated, federated - alone, seconds)
        ),
    )


def summary(outcomes: list[Outcome], rounds: int) -> dict[str, Any]:
    mean_gap = statistics.fmean(outcome.gap for outcome in outcomes)
    largest_gap = max(outcome.gap for outcome in outcomes)
    lead = statistics.fmean(outcome.lead_over_alone for outcome in outcomes)
    return {
        "clients": len(setting.NAMES),
        "alpha": setting.ALPHA,
        "rounds": rounds,
        "epochs": setting.EPOCHS,
        "learning_rate": setting.LEARNING_RATE,
        "batch_size": setting.BATCH_SIZE,
        "clip_norm": setting.CLIP_NORM,
        "mean_gap": round(mean_gap, DECIMALS),
        "largest_gap": round(largest_gap, DECIMALS),
        "mean_lead_over_alone": round(lead, DECIMALS),
        "holds": mean_gap <= MEAN_GAP and largest_gap <= LARGEST_GAP and lead >= LEAD_OVER_ALONE,
        "seeds": [asdict(outcome) for outcome in outcomes],
    }


@click.command(help=__doc__)
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(min=1), help="How many seeds.")
@click.option("--rounds", default=setting.ROUNDS, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def main(seeds: int, rounds: int, as_json: bool) -> None:
    outcomes = []
    for seed in range(seeds):
        outcomes.append(run(seed, rounds))
        if not as_json:
            last = outcomes[-1]
            click.echo(
                f"seed {seed}: pooled {last.pooled:.1f} %, federated {last.federated:.1f} %, "
                f"alone {last.alone:.1f} %, {last.federated_s:.1f} s"
            )
    found = summary(outcomes, rounds)
    if as_json:
        click.echo(json.dumps(found))
    else:
        click.echo(
            f"gap to pooled: mean {found['mean_gap']:.2f}, largest {found['largest_gap']:.2f} points; "
            f"above the average client alone: {found['mean_lead_over_alone']:.1f} points"
        )
    sys.exit(0 if found["holds"] else 1)


if __name__ == "__main__":
    main()
