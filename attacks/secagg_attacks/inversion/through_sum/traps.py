"""Trap weights: a server that changes the model reads single examples out of an honest sum.

"Robbing the Fed" (Fowl, Geiping, Czaja, Goldblum, Goldstein 2022, arXiv 2110.13057), its imprint module.
Before the model stands a fully connected layer whose rows all take the same measurement h(x) = <v, x>, each
with another bias: row i is active where h(x) > c_i, and the c_i are quantiles of h. What follows treats all
rows alike, so that the gradients of two neighbours differ by the examples between their thresholds and by
nothing else: (dW_i - dW_{i+1}) / (db_i - db_{i+1}) is that example, exactly, where there is one, and a
weighted mean of them where there are more. It may be any client's: differences of sums are sums of those.

Threat model: **malicious**, the server chooses the model. Every client gets the same one, so nothing that
secure aggregation checks is amiss: **masks and ciphertexts do not stop it**, and neither does clipping, which
scales a client's whole update. Against it stand a client that knows which architecture it agreed to train,
several local steps or many examples a client (a bin holds their mean then), and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from secagg_attacks.inversion.errors import InversionError
from secagg_attacks.inversion.gradients import Arrays
from secagg_attacks.inversion.through_sum.first_layer import Floats, Mixture, first_layer, quotients

__all__ = ["Caught", "Trap", "catch", "expected_share", "set_trap", "thresholds"]


class Trap(nn.Module):
    """A model behind an imprint layer. (n, *shape) -> what the model gives.

    imprint: rows of one measurement, biases of minus the thresholds. spread: hands the mean of the active
    rows on, the same to every coordinate of the input, so that every row has the same gradient.
    """

    def __init__(self, model: nn.Module, direction: Tensor, cuts: Tensor) -> None:
        super().__init__()
        bins, features = len(cuts), len(direction)
        self.imprint = nn.Linear(features, bins, dtype=direction.dtype)
        self.spread = nn.Linear(bins, features, bias=False, dtype=direction.dtype)
        self.model = model
        with torch.no_grad():
            self.imprint.weight.copy_(direction.expand(bins, -1))
            self.imprint.bias.copy_(-cuts)
            self.spread.weight.fill_(1 / bins)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        seen: Tensor = self.spread(torch.relu(self.imprint(flat)))
        out: Tensor = self.model((flat + seen).view_as(x))
        return out


@dataclass(frozen=True, eq=False)
class Caught:
    """images: float64 (k, *shape), one for each bin that anything fell into. bins: int64 (k,), which.

    An image is a client's example to the last digits where the bin held one, and a mixture where it held
    more; nothing in a single sum tells the two apart.
    """

    images: Floats
    bins: npt.NDArray[np.int64]


def set_trap(model: nn.Module, public: npt.ArrayLike, bins: int, seed: int) -> Trap:
    """The model that a malicious server hands out in place of `model`, which it holds on to.

    public: (m, *shape) examples of the same kind as the clients', for the thresholds; not the clients' own.
    bins: rows of the imprint layer. seed: of the measurement's direction, a random unit vector. The trap's
    dtype is the model's. Raises InversionError `trap-bins`, `trap-public`.
    """
    examples = np.asarray(public, dtype=np.float64).reshape(len(np.asarray(public)), -1)
    direction = np.random.default_rng(seed).standard_normal(examples.shape[1])
    direction /= np.linalg.norm(direction)
    cuts = thresholds(examples @ direction, bins)
    dtype = next(model.parameters()).dtype
    return Trap(model, torch.as_tensor(direction, dtype=dtype), torch.as_tensor(cuts, dtype=dtype))


def thresholds(measured: Floats, bins: int) -> Floats:
    """`bins` ascending thresholds that cut examples like these (m,) into parts of equal probability.

    The lowest is set below all that was measured, by their whole range.
    Raises InversionError `trap-bins`, `trap-public`.
    """
    if bins < 2:
        raise InversionError(
            "trap-bins", f"{bins} bins", "two or more; the more, the fewer examples share one"
        )
    if len(measured) < 2 or not np.isfinite(measured).all() or np.ptp(measured) == 0:
        raise InversionError(
            "trap-public",
            f"{len(measured)} public examples, which measure all the same, or are not finite",
            "some dozens of different examples of the clients' kind",
        )
    cuts = np.quantile(measured, np.arange(bins) / bins)
    cuts[0] = measured.min() - np.ptp(measured)
    return np.asarray(cuts, dtype=np.float64)


def catch(trapped: Trap, update: Arrays, shape: tuple[int, ...], silent: float = 1e-7) -> Caught:
    """What fell into each bin, from the update, or the gradient, of a trapped model.

    update: by the trapped module's names; any multiple of the gradient's sum will do. shape: of an example.
    silent: a bin whose bias moved less than this times the most is taken for empty.
    Raises what `first_layer` raises.
    """
    mixture = first_layer(trapped, update, shape)
    between = Mixture(_differences(mixture.weight), _differences(mixture.bias))
    bins, images = quotients(between, silent)
    return Caught(images.reshape(-1, *shape), bins)


def expected_share(examples: int, bins: int) -> float:
    """The share of `examples` that have a bin to themselves, where the thresholds are exact quantiles."""
    return float((1 - 1 / bins) ** (examples - 1))


def _differences(rows: Floats) -> Floats:
    """Each row less the next; the last has none after it."""
    return np.asarray(rows - np.concatenate([rows[1:], np.zeros_like(rows[:1])]))
