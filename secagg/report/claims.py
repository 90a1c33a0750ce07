"""The claim of a run, or of a plan, in sentences that can be read without knowing the field.

An epsilon says how well two worlds can be told apart, so the sentence says just that: how often the best
guess is right, of one that is right half of the time without the models (`figures.guess_bound`). It names
what is compared, who guesses, and on what it rests. It never says "anonymous", and nothing of what is not
proven.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from secagg.plan import Plan, policy_of
from secagg.privacy.accountant import Privacy, Spent
from secagg.report.figures import bound, counted, guess
from secagg.report.parties import shield_of, who_can_open

__all__ = ["ADJACENCY", "Circumstances", "claims"]

ADJACENCY: Final = {
    "client": ("zero-out", "one client's whole update replaced by zeros, its presence and its noise staying"),
    "example": ("add/remove", "one example of one client's data added or left out"),
}
"""Unit -> the name of what is compared, and what it means."""


@dataclass(frozen=True)
class Circumstances:
    """What a claim's wording depends on beside the plan and its account.

    opened: rounds whose sum was opened; of a prospect, all. over: nothing more will be opened. protected: as
    the plan asks.
    """

    opened: int
    over: bool = True
    prospect: bool = False
    simulated: bool = False
    protected: bool = True


def claims(plan: Plan, accounts: Sequence[Privacy], about: Circumstances) -> tuple[str, ...]:
    """One sentence for each unit, the main one first, and what has to be said along with them."""
    return tuple(_sentences(plan, accounts, about))


def _sentences(plan: Plan, accounts: Sequence[Privacy], about: Circumstances) -> Iterator[str]:
    if not about.opened and about.prospect:
        yield "The first round would cost more than the plan's epsilon: no sum would be opened."
        return
    if not about.opened:
        yield "No sum was opened in this run: nothing that a client computed from its data was released."
        if plan.protection.homomorphic and about.protected:
            yield who_can_open(plan)
        return
    if not accounts:
        models = "a run of this plan" if about.prospect else "this run"
        yield (
            f"Nothing is proven about what the models of {models} give away about any client or any person: "
            "the plan asks for no differential privacy, and no noise is in them."
        )
    for account in sorted(accounts, key=lambda one: one.unit != "client"):
        yield from (
            _of_clients(plan, account, about)
            if account.unit == "client"
            else _of_examples(plan, account, about)
        )
    if plan.protection.homomorphic:
        own = plan.privacy.local is not None and not plan.metrics
        yield who_can_open(plan) + " What is claimed for an example holds even so." * own
    if not about.over and not about.prospect:
        opened = counted(about.opened, "round")
        yield f"The run is not over: this is about the sums of {opened}, all that were opened."
    if about.simulated:
        shield = shield_of(plan.protection.kind)
        left_out = plan.protection.kind != "none" and not about.protected
        yield (
            "This was a simulation: one process held the data of every client"
            + f", and nothing was {shield.done}" * left_out
            + "; the figures are those of the same run among separate clients" * bool(accounts)
            + f", with {shield.noun}" * (left_out and bool(accounts))
            + "."
        )


def _of_clients(plan: Plan, account: Privacy, about: Circumstances) -> Iterator[str]:
    c = policy_of(plan).c
    whether = "a given client took part with its data or with none"
    if plan.privacy.placement == "central":
        yield _sentence(
            f"Somebody who sees every model{_scope(plan, about)}, but not what the server sees,",
            whether,
            account.public,
            "client",
            "provided that the server adds the noise as this software does, and keeps to itself the sums "
            "that it opens; against the server nothing is proven",
        )
    else:
        another = whether.replace("a given", "another given") if c or plan.protection.homomorphic else whether
        other = "other " * (not plan.protection.homomorphic)
        yield _sentence(
            f"Somebody who sees every model{_scope(plan, about)}, {_even(plan)},",
            another,
            account.colluders,
            "client",
            f"provided that {_colluding(plan)}, that every {other}client runs this software unchanged, and "
            "that the authority enrols nobody on the server's behalf",
        )
        if account.public.epsilon < account.colluders.epsilon:
            right = guess(account.public.epsilon, account.public.delta)
            share = f"is right at most {right} of the time" if right else "may practically always be right"
            yield (
                f"Who sees nothing but the models {share} (epsilon {bound(account.public.epsilon)} at delta "
                f"{account.public.delta:g})."
            )
    if account.amplified is not None and account.amplified.epsilon < account.public.epsilon:
        yield (
            f"If, and only if, it stays secret who was drawn in which round, and how many, epsilon is "
            f"{bound(account.amplified.epsilon)} for whoever sees nothing but the models; never for the "
            "server or for anybody who works together with it."
        )


def _of_examples(plan: Plan, account: Privacy, about: Circumstances) -> Iterator[str]:
    worst, also, models = account.colluders, "", _scope(plan, about)
    scope = f"{models}, even together with the server and all other clients,"
    if plan.metrics:  # their noise is not the client's own alone
        if plan.privacy.placement == "central":
            worst, scope = account.public, f"{models}, but not what the server sees,"
            also = ", and that the server adds the noise of the metrics and keeps its sums to itself"
        else:
            scope = f"{models}, {_even(plan)},"
            also = f", and that {_colluding(plan)}"
    yield _sentence(
        f"Somebody who sees every model{scope}",
        "one given example was among the data that a client trained on",
        worst,
        "example",
        f"provided that this client's own software kept to the noise that it was asked for{also}; each "
        "client asserts that for itself, in a ledger of its own, and nobody else can check it",
    )


def _sentence(who: str, whether: str, spent: Spent, unit: str, provided: str) -> str:
    name, meaning = ADJACENCY[unit]
    if math.isinf(spent.epsilon):
        return f"{who} is kept from nothing by a proof: whether {whether} may be known for certain."
    figures = f"epsilon {bound(spent.epsilon)} at delta {spent.delta:g}; adjacency {name}: {meaning}"
    right = guess(spent.epsilon, spent.delta)
    answer = (
        f"guesses right at most {right} of the time with them"
        if right
        else "may, as far as is proven, practically always guess right, which is no protection"
    )
    return (
        f"{who} and who without the models would guess right half of the time whether {whether}, {answer} "
        f"({figures}), {provided}."
    )


def _scope(plan: Plan, about: Circumstances) -> str:
    if not about.prospect:
        return " of this run"
    if about.opened < plan.run.rounds:
        return f" of the {about.opened} of {plan.run.rounds} rounds that the plan's epsilon allows"
    return f" of all {counted(about.opened, 'round')}"


def _even(plan: Plan) -> str:
    """The worst against whom a claim holds."""
    c, n = policy_of(plan).c, plan.cohort.max_clients
    if plan.protection.homomorphic:
        return "even the server or a client that opens the sums"
    return "even together with " + (
        f"the server and any {c} of its at most {n} clients" if c else "the server"
    )


def _colluding(plan: Plan) -> str:
    """What is assumed of the server and of those who may work together with it."""
    c, n = policy_of(plan).c, plan.cohort.max_clients
    if plan.protection.homomorphic:
        assumed = (
            "no client, and so none that holds the key, works together with the server or with another client"
        )
        if plan.protection.recompute:
            assumed += ", that none that holds the key opens more than the sum"
    elif not c:
        assumed = "no client colludes with the server"
    else:
        verb = "colludes" if c == 1 else "collude"
        assumed = f"no more than {c} of the at most {n} clients in a round {verb} with the server"
    if not policy_of(plan).malicious:
        assumed += ", that the server keeps to the protocol"
    return assumed
