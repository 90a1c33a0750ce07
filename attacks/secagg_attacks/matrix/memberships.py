"""Membership as cells: which examples did the clients train on, asked of uploads and of sums alike.

Of an upload the server makes a model, global weights plus what that client sent, whatever protects it; of a
sum there is the model that the run ends with. The same attack is made on both. What masks or encryption leave
of an upload is no model, and an attack on it must be at chance; the sum is a model, and says what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from secagg_attacks.local_training import FEDSGD
from secagg_attacks.matrix.case import Attack, Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.memberships_asked import (
    Asked,
    From,
    asked_about,
    logits_of,
    views_of,
)
from secagg_attacks.matrix.memberships_measured import WINS_AT, measured
from secagg_attacks.matrix.shadow_clients import Evidence, shadows_of
from secagg_attacks.membership.confidence import Floats, phi
from secagg_attacks.membership.example_gradients import gradient_norms
from secagg_attacks.membership.federated import Observation, federated_scores, observed
from secagg_attacks.membership.lira import lira_offline, lira_online
from secagg_attacks.membership.rmia import ratios_offline, ratios_online, rmia
from secagg_attacks.membership.thresholds import calibrated_loss, loss_threshold
from secagg_attacks.views import Arrays, View

__all__ = ["COLUMNS", "WINS_AT"]

_GRADIENT_CLIENTS: Final = 4
"""Of a run of one step, with one example each: the sum is of few gradients, and gives away what it holds
(cosine, on the digits: AUC .94; of 8 clients, .86)."""
_NORMALISED_EXAMPLES: Final = 4
"""Of each, where BatchNorm needs a batch."""

_Attack: TypeAlias = Callable[[Case, From], Played]


@dataclass(frozen=True, eq=False)
class _Trained:
    """phi: (models, examples), of what the server makes of each upload, or sum."""

    asked: Asked
    views: tuple[View, ...]
    phi: Floats


def _loss(case: Case, source: From) -> Played:
    seen = _trained(case, source)
    return measured(case, seen.asked, source, loss_threshold(seen.phi), seen.views[0])


def _calibrated(case: Case, source: From) -> Played:
    seen = _trained(case, source)
    shadows = _shadows(case, seen, source)
    return _beside(case, seen, source, calibrated_loss(seen.phi, *shadows), shadows)


def _lira(case: Case, source: From) -> Played:
    # Each example is in few shadows: its own variance would be of a handful of numbers.
    seen = _trained(case, source)
    shadows = _shadows(case, seen, source)
    return _beside(case, seen, source, lira_online(seen.phi, *shadows, variance="pooled"), shadows)


def _lira_offline(case: Case, source: From) -> Played:
    seen = _trained(case, source)
    shadows = _shadows(case, seen, source)
    return _beside(case, seen, source, lira_offline(seen.phi, *shadows), shadows)


def _rmia(case: Case, source: From) -> Played:
    seen = _trained(case, source)
    shadows = _shadows(case, seen, source)
    return _relative(case, seen, source, ratios_online(seen.phi, *shadows), shadows)


def _rmia_offline(case: Case, source: From) -> Played:
    seen = _trained(case, source)
    shadows = _shadows(case, seen, source)
    return _relative(case, seen, source, ratios_offline(seen.phi, *shadows), shadows)


def _norm(case: Case, source: From) -> Played:
    seen = _trained(case, source)
    target, examples = seen.asked.cohorts[0].target, seen.asked.examples
    norms = []
    for model in _models(seen.asked, seen.views, source):
        norms.append(gradient_norms(target, model, examples))
        if case.on_step is not None:
            case.on_step(len(norms), len(seen.phi))
    return measured(case, seen.asked, source, np.stack(norms), seen.views[0])


def _cosine(case: Case, source: From) -> Played:
    return _gradients(case, source, "cosine")


def _difference(case: Case, source: From) -> Played:
    return _gradients(case, source, "difference")


def _trained(case: Case, source: From) -> _Trained:
    """Models of the run of several local steps, and what they say of every example."""
    key = ("trained", case.defence.name, source, case.seed)
    if key not in case.memory.kept:
        asked = asked_about(case)
        views = views_of(case, asked, "membership")
        x, y = asked.examples
        target, labels = asked.cohorts[0].target, y.cpu().numpy()
        said = [phi(logits_of(target, model, x), labels) for model in _models(asked, views, source)]
        case.memory.kept[key] = _Trained(asked, views, np.stack(said))
    found: _Trained = case.memory.kept[key]
    return found


def _models(asked: Asked, views: Sequence[View], source: From) -> Iterator[Arrays]:
    """The model that a round began with and what was seen of it, of each upload or sum."""
    for seen in _last_seen(asked, views, source):
        yield {name: seen.model[name] + array for name, array in seen.update.items()}


def _last_seen(asked: Asked, views: Sequence[View], source: From) -> list[Observation]:
    return [
        observed(view, client)[-1]
        for cohort, view in zip(asked.cohorts, views, strict=True)
        for client in (cohort.names if source == "upload" else (None,))
    ]


def _shadows(case: Case, seen: _Trained, source: From) -> Evidence:
    shadows = shadows_of(case, seen.asked)
    return shadows.clients if source == "upload" else shadows.sums


def _relative(case: Case, seen: _Trained, source: From, ratios: Floats, shadows: Evidence) -> Played:
    """RMIA's population are the non-members."""
    found = rmia(ratios, ratios[:, seen.asked.owners(source) < 0])
    return _beside(case, seen, source, found.scores, shadows, found.finest_fpr)


def _beside(
    case: Case, seen: _Trained, source: From, scores: Floats, shadows: Evidence, finest_fpr: float = 0.0
) -> Played:
    count = {"shadow models": float(len(shadows[0]))}
    return measured(case, seen.asked, source, scores, seen.views[0], finest_fpr=finest_fpr, more=count)


def _gradients(case: Case, source: From, which: str) -> Played:
    """Both scores of a run of one step, made together."""
    key = ("gradients", case.defence.name, source, case.seed)
    if key not in case.memory.kept:
        normalised = any(isinstance(part, _BatchNorm) for part in case.world.target.model.modules())
        each = _NORMALISED_EXAMPLES if normalised else 1
        asked = asked_about(case, FEDSGD, each, _GRADIENT_CLIENTS)
        views = views_of(case, asked, "gradients")
        seen = _last_seen(asked, views, source)
        target = asked.cohorts[0].target
        found = federated_scores(target, seen, asked.examples, per_client=asked.each)
        case.memory.kept[key] = asked, views, found
    asked, views, found = case.memory.kept[key]
    scores = {"cosine": found.cosine, "difference": found.difference}[which]
    return measured(case, asked, source, scores, views[0])


def _pair(
    method: str, title: str, attack: _Attack, weight: float, source: str, rule: str
) -> tuple[Column, Column]:
    """The attack on uploads, and on sums."""
    said = f"how often a member is ranked above a non-member, by {rule}"
    return (
        Column(f"{method}-upload", f"{title}, upload", "membership", "upload", method, _on(attack, "upload"),
               weight, False, True, source, f"{said}; of each upload, taken for an update"),
        Column(f"{method}-sum", f"{title}, sum", "membership", "sum", method, _on(attack, "sum"),
               weight, False, True, source, f"{said}; of the opened sum"),
    )  # fmt: skip


def _on(attack: _Attack, source: From) -> Attack:
    return lambda case: attack(case, source)


_LI: Final = "Li, Li, Ribeiro 2023, OpenReview QsCSLPP55Ku"

COLUMNS: Final = (
    *_pair("loss", "Loss", _loss, 0.5, "Yeom et al. 2018", "its loss"),
    *_pair("calibrated", "Calibrated loss", _calibrated, 0.7, "Watson et al. 2022",
           "its loss below that of shadow models without it"),
    *_pair("lira", "LiRA", _lira, 0.7, "Carlini et al. 2022, algorithm 1",
           "how much likelier its confidence is among shadow models with it"),
    *_pair("lira-offline", "LiRA, offline", _lira_offline, 0.7, "Carlini et al. 2022, section IV.E",
           "how unlikely its confidence is among shadow models without it"),
    *_pair("rmia", "RMIA", _rmia, 0.7, "Zarifzadeh et al. 2024",
           "the share of non-members that it dominates"),
    *_pair("rmia-offline", "RMIA, offline", _rmia_offline, 0.7, "Zarifzadeh et al. 2024, section 3.2",
           "the share of non-members that it dominates, by shadow models without it"),
    *_pair("norm", "Gradient norm", _norm, 0.6, "after Nasr et al. 2019", "how short its gradient is"),
    *_pair("cosine", "Gradient cosine", _cosine, 0.5, _LI, "its gradient's angle with the update"),
    *_pair("difference", "Gradient difference", _difference, 0.5, _LI,
           "how much shorter the update is without its gradient"),
)  # fmt: skip
