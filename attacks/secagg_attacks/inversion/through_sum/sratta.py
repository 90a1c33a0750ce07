"""SRATTA: examples read out of sums of FedAvg updates, and told apart by the client they came from.

Marchand, Loeb, Marteau-Ferey, Ogier du Terrail, Pignet 2023 (arXiv 2306.07644). For a network whose first
layer is fully connected with ReLU, over rounds of several local steps, from the sums alone. Honest but
curious: the server does nothing but its work.

Recovery: a neuron that a single example activated in a round, among all clients' examples and
steps, has that example as the quotient of its weights' and its bias's update. Which quotients are examples is
told by what is known of the data: their values lie on a grid (pixels are whole numbers of 255ths), and those
of a mixture do not. Without a grid, a quotient that comes again, in another neuron or round, is taken for
one: mixtures seldom agree. That second test is ours, and it is not sound as the first is.

Attribution: a recovered example that is in a neuron's update, and did not activate it under the
round's first model, can only have done so after other examples *of its own client* moved that neuron. If all
that is in the update has been recovered, and a single one of them was active at the start (or several of
one group), all belong together. Groups grow until nothing changes.

Groups are right as long as recovered examples are, and as no share in a neuron is too small to be seen: one
client may be in two groups, not two clients in one. A client with one example and one local step in a round
is recovered and never grouped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import Arrays
from secagg_attacks.inversion.through_sum.first_layer import Floats, Mixture, first_layer, quotients

__all__ = ["Attributed", "Observed", "agreement", "recover", "sratta"]

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Observed:
    """A round as the server saw it: the model it handed out, and the mean update (or sum) it was given."""

    model: Arrays
    update: Arrays


@dataclass(frozen=True, eq=False)
class Attributed:
    """images: float64 (k, *shape), recovered examples, each once. groups: int64 (k,), those of one number
    come from one client; an example that could not be attributed is alone in its group.
    """

    images: Floats
    groups: npt.NDArray[np.int64]


def sratta(
    model: nn.Module,
    rounds: Sequence[Observed],
    shape: tuple[int, ...],
    levels: int | None = None,
    tolerance: float = 1e-3,
) -> Attributed:
    """Both steps, over all rounds.

    model: the architecture, a first layer with ReLU after it. shape: of an example. levels: inputs are whole
    numbers of 1 / levels from 0 to 1; None where nothing is known of them. tolerance: how far a quotient may
    be from the grid, in steps of it, or from its repetition, in units of the inputs.
    Raises InversionError `rounds-missing`, `levels-invalid`, and what `first_layer` raises.
    """
    if not rounds:
        raise InversionError("rounds-missing", "no round was observed", "one or more, in any order")
    seen = [(first_layer(model, one.model, shape), first_layer(model, one.update, shape)) for one in rounds]
    found = recover([update for _, update in seen], levels, tolerance)
    groups = np.arange(len(found))
    if len(found):
        relations = [relation for start, update in seen for relation in _relations(start, update, found)]
        groups = _grouped(len(found), relations)
    return Attributed(found.reshape(-1, *shape), groups)


def recover(updates: Sequence[Mixture], levels: int | None, tolerance: float) -> Floats:
    """The quotients that are examples, each once: (k, features).

    Raises InversionError `levels-invalid`.
    """
    if levels is not None and levels < 1:
        raise InversionError("levels-invalid", f"{levels} levels", "255 for 8-bit pixels, 1 for binary data")
    candidates = np.concatenate([quotients(update)[1] for update in updates])
    if levels is None:
        return _repeated(candidates, tolerance)
    on_grid = np.rint(candidates * levels)
    near = np.abs(candidates * levels - on_grid).max(axis=1) < tolerance
    inside = ((on_grid >= 0) & (on_grid <= levels)).all(axis=1)
    return np.unique(on_grid[near & inside] + 0.0, axis=0) / levels  # without minus zeros


def agreement(groups: npt.ArrayLike, owners: npt.ArrayLike) -> tuple[float, float]:
    """How good the groups are: of all pairs that are grouped, the share that has one owner, and the reverse.

    Precision and recall over pairs of recovered examples; nan where there is no such pair.
    """
    one, other = np.asarray(groups), np.asarray(owners)
    above = np.triu_indices(len(one), 1)
    together = (one[:, None] == one[None])[above]
    same = (other[:, None] == other[None])[above]
    both = float((together & same).sum())
    precision, recall = (
        both / float(part) if part else float("nan") for part in (together.sum(), same.sum())
    )
    return precision, recall


def _repeated(candidates: Floats, tolerance: float) -> Floats:
    """Those that come twice or more, each once."""
    kept: list[Floats] = []
    left = candidates
    while len(left):
        same = np.abs(left - left[0]).max(axis=1) < tolerance
        if same.sum() > 1:
            kept.append(left[0])
        left = left[~same]
    return np.asarray(kept).reshape(-1, candidates.shape[1])


@dataclass(frozen=True)
class _Relation:
    """Of one neuron in one round: the examples active in it from the start, and those that became active."""

    before: frozenset[int]
    later: frozenset[int]


def _relations(start: Mixture, update: Mixture, found: Floats) -> list[_Relation]:
    active = found @ start.weight.T + start.bias > 0
    relations = []
    for row, parts in _supports(update, found):
        before = frozenset(part for part in parts if active[part, row])
        if before and len(before) < len(parts):
            relations.append(_Relation(before, frozenset(parts) - before))
    return relations


def _supports(
    update: Mixture, found: Floats, most: int = 20, exact: float = 1e-5, absent: float = 1e-3
) -> Iterator[tuple[int, list[int]]]:
    """Neurons whose update is wholly made of recovered examples, and which: (row, indices into `found`).

    Orthogonal matching pursuit (the paper's choice), over examples less their mean: a row's bias says how
    much of the mean is in it. exact: what may be left of a row, to its norm. absent: a coefficient below
    this times the largest counts as none.
    """
    middle = found.mean(axis=0)
    atoms = found - middle
    norms = np.linalg.norm(atoms, axis=1)
    norms[norms == 0] = 1.0
    for row in quotients(update)[0]:
        wanted = update.weight[row] - update.bias[row] * middle
        whole = float(np.linalg.norm(update.weight[row]))
        chosen: list[int] = []
        left, share = wanted, np.zeros(0)
        while np.linalg.norm(left) > exact * whole and len(chosen) < min(most, len(found)):
            scores = np.abs(atoms @ left) / norms
            scores[chosen] = -1.0
            chosen.append(int(scores.argmax()))
            share = np.linalg.lstsq(atoms[chosen].T, wanted, rcond=None)[0]
            left = wanted - share @ atoms[chosen]
        present = np.abs(share) > absent * np.abs(share).max(initial=0.0)
        balanced = abs(share.sum() - update.bias[row]) <= absent * np.abs(share).max(initial=0.0)
        if np.linalg.norm(left) <= exact * whole and balanced:
            yield int(row), [part for part, is_in in zip(chosen, present, strict=True) if is_in]


def _grouped(count: int, relations: Sequence[_Relation]) -> npt.NDArray[np.int64]:
    """The number of each example's group: the smallest index in it."""
    group = np.arange(count)
    changed = True
    while changed:
        changed = False
        for relation in relations:
            starts = {int(group[part]) for part in relation.before}
            if len(starts) > 1:
                continue
            members = starts | {int(group[part]) for part in relation.later}
            if len(members) > 1:
                group[np.isin(group, sorted(members))] = min(members)
                changed = True
    return group
