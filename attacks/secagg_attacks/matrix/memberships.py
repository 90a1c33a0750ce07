"""Membership as a cell: who was trained on what, asked of the model that the server can make of what it saw.

Without protection that is each client's own model, global weights plus its upload; else it is the mean's.
Either way the question is the same: which of these examples did the clients train on, and which are the
target's non-members. Shadow models are what the server would make: shadow clients that train as clients do,
all in one batched program, and the means of as many of them as are in the sum. Whoever runs the server knows
the recipe and has examples like the clients'; here, as is usual, those that are asked about are among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

import secagg.torch
from secagg_attacks.federation import Federation
from secagg_attacks.local_training import BUFFERS, LocalTraining
from secagg_attacks.matrix.case import Case, Played
from secagg_attacks.matrix.column import Column
from secagg_attacks.matrix.errors import MatrixError
from secagg_attacks.membership.confidence import phi
from secagg_attacks.membership.federated import federated_scores, observed
from secagg_attacks.membership.figures import PRIORS, figures
from secagg_attacks.membership.lira import lira_online
from secagg_attacks.membership.rmia import ratios_online, rmia
from secagg_attacks.membership.thresholds import calibrated_loss, loss_threshold
from secagg_attacks.results import Measurement
from secagg_attacks.statistics.bootstrap import auc_interval
from secagg_attacks.target import Target
from secagg_attacks.views import Arrays, ThreatModel, View

__all__ = [
    "COLUMNS",
    "WINS_AT",
    "calibrated",
    "federation_of",
    "gradient_on_sum",
    "gradient_on_update",
    "lira",
    "loss",
    "relative",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

_COHORTS: Final = 3
"""Runs whose sums are asked, for a sum of few has few members."""
_NEXT_COHORT: Final = 10_007
_NUMBERS: Final = 1 << 25
"""Parameters of shadow clients that are trained at a time."""
WINS_AT: Final = 0.9
"""AUC: a view on which an attack reaches it gives membership away."""
_GRADIENT_EXAMPLES: Final = 2
"""Of each client in a run of one step: the sum is of few, and gives away what it holds."""


@dataclass(frozen=True, eq=False)
class _Shadows:
    """phi and is_member (models, examples), of lone clients and of sums."""

    clients: tuple[Floats, Bools]
    sums: tuple[Floats, Bools]


@dataclass(frozen=True, eq=False)
class _Asked:
    """phi (models, examples) of what the server has; own: columns of each model's members; the shadows."""

    phi: Floats
    own: tuple[npt.NDArray[np.int64], ...]
    members: int
    view: View


def federation_of(case: Case) -> Federation:
    """The run that membership, utility and shadows are of."""
    scale = case.scale
    target = case.world.target
    per_client = min(scale.per_client, len(target.members[0]) // scale.clients)
    return Federation(
        target,
        scale.clients,
        local=LocalTraining(scale.local_steps, None, scale.learning_rate),
        per_client=per_client,
        seed=case.seed,
    )


def loss(case: Case) -> Played:
    """The loss, negated."""
    asked = _asked(case)
    return _figures(case, asked, loss_threshold(asked.phi))


def calibrated(case: Case) -> Played:
    """The loss beside that of shadows without the example."""
    asked = _asked(case)
    return _figures(case, asked, calibrated_loss(asked.phi, *_shadows(case, asked)))


def lira(case: Case) -> Played:
    """LiRA online."""
    asked = _asked(case)
    return _figures(case, asked, lira_online(asked.phi, *_shadows(case, asked)))


def relative(case: Case) -> Played:
    """RMIA online; its population are the non-members asked about."""
    asked = _asked(case)
    ratios = ratios_online(asked.phi, *_shadows(case, asked))
    found = rmia(ratios, ratios[:, asked.members :])
    return _figures(case, asked, found.scores, found.finest_fpr)


def gradient_on_update(case: Case) -> Played:
    """Cosine of an example's gradient with each client's upload, whatever protects it."""
    return _gradients(case, of_sum=False)


def gradient_on_sum(case: Case) -> Played:
    """The same with the opened mean."""
    return _gradients(case, of_sum=True)


def _asked(case: Case) -> _Asked:
    federation = federation_of(case)
    view = case.memory.view(case.defence, ("membership",), federation)
    last = view.rounds[-1]
    x, y = _candidates(case, federation)
    members = len(x) - min(case.scale.candidates, len(federation.target.nonmembers[0]))
    if case.defence.kind == "none":
        models: list[Arrays] = [
            {name: last.model[name] + array for name, array in last.uploads[client].items()}
            for client in federation.names
        ]
        ends = np.cumsum([len(federation.shares[client]) for client in federation.names])
        own = tuple(np.split(np.arange(members), ends[:-1]))
    else:
        models, own = [view.final], (np.arange(members),)
    confidences = np.stack([phi(_logits(federation.target, one, x), y.numpy()) for one in models])
    return _Asked(confidences, own, members, view)


def _candidates(case: Case, federation: Federation) -> tuple[Tensor, Tensor]:
    """Members, client by client, then non-members."""
    x, y = federation.examples_of()
    others, labels = federation.target.nonmembers
    count = case.scale.candidates
    return torch.cat([x, others[:count]]), torch.cat([y, labels[:count]])


def _logits(target: Target, weights: Arrays, x: Tensor) -> npt.NDArray[np.float64]:
    model = target.fresh().eval()
    secagg.torch.load(model, weights, local=BUFFERS if target.buffers == "unknown" else ())
    with torch.no_grad():
        return np.asarray(model(x).double().numpy())


def _shadows(case: Case, asked: _Asked) -> tuple[Floats, Bools]:
    key = ("shadows", case.seed)
    if key not in case.memory.kept:
        case.memory.kept[key] = _train(case, federation_of(case))
    found: _Shadows = case.memory.kept[key]
    return found.clients if len(asked.phi) > 1 else found.sums


def _train(case: Case, federation: Federation) -> _Shadows:
    """Shadow clients take every candidate once in each deal; the first so many of a deal make a sum."""
    x, y = _candidates(case, federation)
    size = min(len(share) for share in federation.shares.values())
    parts = len(x) // size
    generator = np.random.default_rng((case.seed, 1))
    client_phi, client_in, sum_phi, sum_in = [], [], [], []
    for deal in range(case.scale.deals):
        rows = generator.permutation(len(x))[: parts * size].reshape(parts, size)
        trained = _trained(federation, x[rows], y[rows])
        ins = np.zeros((parts, len(x)), dtype=np.bool_)
        np.put_along_axis(ins, rows, True, axis=1)
        client_phi.append(_phi_of_all(federation.target, trained, x, y))
        client_in.append(ins)
        whole = parts // federation.clients * federation.clients
        means = {
            name: values[:whole].reshape(-1, federation.clients, *values.shape[1:]).mean(dim=1)
            for name, values in trained.items()
        }
        sum_phi.append(_phi_of_all(federation.target, means, x, y))
        sum_in.append(ins[:whole].reshape(-1, federation.clients, len(x)).any(axis=1))
        if case.on_step is not None:
            case.on_step(deal + 1, case.scale.deals)
    sums = (np.concatenate(sum_phi), np.concatenate(sum_in))
    return _Shadows((np.concatenate(client_phi), np.concatenate(client_in)), sums)


def _trained(federation: Federation, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
    """Parameters (models, ...) of as many shadow clients as x (models, examples, ...) has rows, trained some
    at a time. Raises MatrixError `shadows-not-batched`."""
    model = federation.target.fresh()
    start = {name: value.detach() for name, value in model.named_parameters()}
    at_once = max(1, _NUMBERS // sum(value.numel() for value in start.values()))

    def value_of(parameters: Mapping[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        return federation.target.loss(functional_call(model, dict(parameters), (inputs,)), labels)

    step = vmap(grad(value_of))
    parts = []
    for inputs, labels in zip(torch.split(x, at_once), torch.split(y, at_once), strict=True):
        trained = {name: value.expand(len(inputs), *value.shape).clone() for name, value in start.items()}
        for _ in range(federation.local.steps):
            try:
                slopes = step(trained, inputs, labels)
            except RuntimeError as error:
                raise MatrixError(
                    "shadows-not-batched",
                    f"such models cannot be trained side by side: {str(error).splitlines()[0]}",
                    "a model without dropout and without BatchNorm in train mode",
                ) from error
            trained = {
                name: value - federation.local.learning_rate * slopes[name] for name, value in trained.items()
            }
        parts.append(trained)
    return {name: torch.cat([part[name] for part in parts]) for name in start}


def _phi_of_all(target: Target, parameters: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Floats:
    model = target.fresh().eval()

    def of_one(values: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = functional_call(model, dict(values), (x,))
        return out

    with torch.no_grad():
        return phi(vmap(of_one)(parameters).double().numpy(), y.numpy())


def _gradients(case: Case, *, of_sum: bool) -> Played:
    """Of every client's upload in one run, or of the sums of several runs with other clients."""
    scores, views = [], []
    cohorts = _COHORTS if of_sum else 1
    for cohort in range(cohorts):
        seed = case.seed + cohort * _NEXT_COHORT
        target = case.world.target
        federation = Federation(target, case.scale.clients, per_client=_GRADIENT_EXAMPLES, seed=seed)
        view = case.memory.view(case.defence, ("gradients", seed), federation)
        views.append(view)
        for client in (None,) if of_sum else federation.names:
            x, y = federation.examples_of(client)
            others, labels = (part[: case.scale.candidates] for part in target.nonmembers)
            examples = torch.cat([x, others]), torch.cat([y, labels])
            found = federated_scores(target, observed(view, client), examples, per_client=_GRADIENT_EXAMPLES)
            scores.append(found.over_rounds("cosine"))
        if case.on_step is not None:
            case.on_step(cohort + 1, cohorts)
    whole = np.stack(scores)
    is_member = np.broadcast_to(np.arange(whole.shape[1]) < len(x), whole.shape)
    return _of_scores(case, whole, np.array(is_member), views[0])


def _figures(case: Case, asked: _Asked, scores: Floats, finest_fpr: float = 0.0) -> Played:
    """Each model's own members beside all non-members."""
    shortest = min(len(own) for own in asked.own)
    whole = np.stack(
        [
            np.concatenate([row[own[:shortest]], row[asked.members :]])
            for row, own in zip(scores, asked.own, strict=True)
        ]
    )
    is_member = np.broadcast_to(np.arange(whole.shape[1]) < shortest, whole.shape)
    return _of_scores(case, whole, np.array(is_member), asked.view, finest_fpr)


def _of_scores(case: Case, scores: Floats, is_member: Bools, view: View, finest_fpr: float = 0.0) -> Played:
    found = figures(scores.reshape(-1), is_member.reshape(-1), case.seed, finest_fpr=finest_fpr)
    interval = auc_interval(scores, is_member, case.seed, _examples(is_member))
    more = {"balanced accuracy": found.balanced_accuracy}
    for rate in found.rates:
        more[f"TPR at {100 * rate.fpr:g} % FPR"] = rate.tpr
        more[f"TPR at {100 * rate.fpr:g} % FPR, low"] = rate.interval.low
        more[f"TPR at {100 * rate.fpr:g} % FPR, high"] = rate.interval.high
        for prior, share in zip(PRIORS, rate.precisions, strict=True):
            more[f"precision at {100 * rate.fpr:g} % FPR, prior {100 * prior:g} %"] = share
    measurement = Measurement(
        attack=case.attack,
        defence=case.defence.name,
        status="measured",
        seed=case.seed,
        figure="AUC",
        value=found.auc,
        low=interval.low,
        high=interval.high,
        n=found.members,
        chance=0.5,
        ceiling=1.0,
        p_value=found.chance_p_value,
        must_reach=WINS_AT,
        leaks_at=WINS_AT,
        view=view.digest,
        threat=_told(view.threat),
        notes=tuple(f"{why.message} [{why.code}]" for _, why in found.refused),
        more=more,
    )
    return measurement, {"scores": scores, "is_member": is_member}


def _examples(is_member: Bools) -> npt.NDArray[np.int64]:
    """Which example each score is of: members are each row's own, non-members the same in every row."""
    rows, columns = np.indices(is_member.shape)
    return np.where(is_member, (rows + 1) * is_member.shape[1] + columns, columns)


def _told(threat: ThreatModel) -> ThreatModel:
    """Membership is asked of labelled examples."""
    return ThreatModel(threat.holder, threat.adversary, "known", threat.buffers, threat.local_steps)


_MEMBERS: Final = "how often a member is ranked above a non-member"
_COSINE: Final = "Li, Li, Ribeiro 2023, OpenReview QsCSLPP55Ku"

COLUMNS: Final = (
    Column("cosine-upload", "Gradient cosine", "membership", "upload", "cosine", gradient_on_update,
           1.0, False, True, _COSINE, f"{_MEMBERS}, by its gradient's angle with the upload"),
    Column("cosine-sum", "Gradient cosine", "membership", "sum", "cosine", gradient_on_sum, 0.5, False, True,
           _COSINE, f"{_MEMBERS}, by its gradient's angle with the opened sum"),
    Column("loss", "Loss", "membership", "sum", "loss", loss, 2.0, False, True, "Yeom et al. 2018", _MEMBERS),
    Column("calibrated", "Calibrated loss", "membership", "sum", "calibrated", calibrated, 1.0, False, True,
           "Watson et al. 2022", _MEMBERS),
    Column("lira", "LiRA", "membership", "sum", "lira", lira, 0.5, False, True,
           "Carlini et al. 2022", _MEMBERS),
    Column("rmia", "RMIA", "membership", "sum", "rmia", relative, 0.5, False, True,
           "Zarifzadeh et al. 2024", _MEMBERS),
)  # fmt: skip
