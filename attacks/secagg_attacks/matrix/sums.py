"""Reconstruction from opened sums as cells: through the mean of n clients, and from the difference of two.

Through the mean: the sum that secure aggregation opens is the update of a batch with an example of each
client. The difference: a run with everybody and one to which a client was not asked open two sums that differ
by that client's update; no protocol that opens sums prevents it, and noise on whole updates bounds it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from secagg_attacks.defences import Defence, Terms
from secagg_attacks.federation import Federation
from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.local_training import FEDSGD
from secagg_attacks.matrix.case import NEXT_COHORT, Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.errors import note_of
from secagg_attacks.matrix.inversions import ANALYTIC_DB, CLIENTS, LEAST_SECONDS, analytically, by_search
from secagg_attacks.matrix.norms import clip_norm_for
from secagg_attacks.matrix.reconstructions import LEAKS_DB, measured, reconstructed, too_few
from secagg_attacks.views import View, capture
from secagg_attacks.views.differences import differences

__all__ = ["COLUMNS", "differencing", "through_mean", "without"]


def through_mean(clients: int) -> Callable[[Case], Played]:
    """Inverting gradients on the opened mean of so many clients; of few clients, on several cohorts' means,
    each a run of its own, so that there are as many images as elsewhere."""

    def attack(case: Case) -> Played:
        target = case.world.networks["convolutional"]
        if (why := too_few(target, clients)) is not None:
            return case.not_applicable(why)
        cohorts = max(1, case.scale.images // clients)
        each = None if case.limit is None else max(case.limit / cohorts, LEAST_SECONDS)
        groups, views = [], []
        for cohort in range(cohorts):
            seed = case.seed + cohort * NEXT_COHORT
            federation = Federation(target, clients, per_client=1, seed=seed)
            view = case.memory.view(case.defence, ("convolutional", clients, 1, FEDSGD, seed), federation)
            mean = view.rounds[0].mean
            if mean is None:
                return case.not_applicable("no sum was opened")
            x, y = federation.examples_of()
            try:
                groups.append(reconstructed(target, mean, x.numpy(), y.numpy(), seed, each, by_search(case)))
            except InversionError as error:
                return case.not_applicable(note_of(error))
            views.append(view)
        return measured(case, groups, target, LEAKS_DB, views[0].digest, views[0].threat)

    return attack


def differencing(case: Case) -> Played:
    """The analytic attack on what one client's update must have been: one run with everybody, and for each
    victim one without it. Noise is drawn anew in each run, from a seed of its own."""
    target = case.world.networks["analytic"]
    if (why := too_few(target, CLIENTS)) is not None:
        return case.not_applicable(why)
    federation = Federation(target, CLIENTS, per_client=1, seed=case.seed)
    terms = replace(federation.terms(), clip_norm=clip_norm_for(target, 1))
    whole = case.memory.view(case.defence, ("differencing",), federation, terms)
    victims = federation.names[: case.scale.images]
    groups = []
    for done, victim in enumerate(victims):
        rest = without(victim, case.defence, federation, terms, case.seed + (done + 1) * NEXT_COHORT)
        found = [each for each in differences(whole, rest) if each.client == victim]
        if not found:
            return case.not_applicable("no two sums were opened that differ by one client")
        x, y = federation.examples_of(victim)
        update = found[0].update
        try:
            groups.append(
                reconstructed(
                    target, update, x.numpy(), y.numpy(), case.seed + done, case.limit, analytically
                )
            )
        except InversionError as error:
            return case.not_applicable(note_of(error))
        if case.on_step is not None:
            case.on_step(done + 1, len(victims))
    return measured(case, groups, target, ANALYTIC_DB, whole.digest, whole.threat)


def without(absent: str, defence: Defence, federation: Federation, terms: Terms, seed: int) -> View:
    """The run of everybody else. seed: of rounding and noise; another than the federation's, which the run
    with everybody has: noise that is in both sums is not in their difference."""
    trains = {name: train for name, train in federation.trains().items() if name != absent}
    plan = defence.plan(replace(terms, clients=len(trains)))
    return capture(plan, federation.initial, trains, seed=seed)


_IMAGES: Final = "how near a reconstruction comes to a client's example, after the best assignment"

COLUMNS: Final = (
    *(Column(f"mean-{n}", f"Through the mean of {n}", "inversion", "sum", "inverting", through_mean(n),
             weight, True, quick, "Geiping et al. 2020", f"{_IMAGES}; from the opened mean")
      for n, weight, quick in ((2, 2.0, True), (4, 2.0, True), (8, 3.0, True), (32, 6.0, False))),
    Column("differencing", "Difference of two sums", "inversion", "sum", "analytic", differencing, 0.6, False,
           True, "So et al. 2023", f"{_IMAGES}; two opened sums, one of them without that client"),
)  # fmt: skip
