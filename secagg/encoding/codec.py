"""Real vectors as ring vectors, and the sum of ring vectors as a weighted mean.

A client's contribution is clipped, then weighted, then scaled, then rounded; nothing of it leaves in
another form. The vector has three stretches:

    model      delta * (example weight / max weight) * scale, stochastically rounded, a coordinate each
    metrics    position in the declared range * example weight / max weight * scale, a coordinate each
    weight     the example weight, an exact integer

Every client reports every declared metric: a sum over those who do could be one client's own, and show how
many examples it has. A rounding step of a client's contribution is at most `precision`; of the mean it is
max weight / mean example weight times that.

The model is clipped group by group to its L2 norm; `scale` is the power of two that makes a rounding step
at most `precision`. Stochastic rounding (up with probability equal to the fraction) is unbiased; its
randomness is an AES-CTR stream. No sum can wrap (`ring.bits_for`), because every coordinate is at most
`largest`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from secagg.encoding.packing import packed_size
from secagg.encoding.ring import bits_for, centred, word
from secagg.errors import EncodingError, UpdateError
from secagg.prg import Ring, expand
from secagg.weights import BLOCK, Array, Layout

__all__ = ["CLIPPED_FRACTION", "Codec", "Decoded", "Encoded", "Settings"]

CLIPPED_FRACTION: Final = "clipped_fraction"
"""The metric that is always there: which share of the clients was clipped."""

_MAX_EXACT: Final = 1 << 52
"""Integers up to here and their fractions are exact in float64."""


@dataclass(frozen=True)
class Settings:
    """How a plan encodes. `groups`: (name pattern, clip norm), first wins. `ranges`: (metric, min, max)."""

    max_clients: int
    clip_norm: float = 1.0
    precision: float = 1e-6
    groups: tuple[tuple[str, float], ...] = ()
    ranges: tuple[tuple[str, float, float], ...] = ()
    by_examples: bool = False
    max_examples: int = 1

    @property
    def max_weight(self) -> int:
        """The largest example weight: 1 under uniform weighting."""
        return self.max_examples if self.by_examples else 1

    @property
    def scale(self) -> int:
        """A power of two; one rounding step is 1 / scale, at most `precision`."""
        return 1 << max(0, 1 - math.frexp(self.precision)[1])

    @property
    def largest(self) -> int:
        """The largest absolute value any coordinate of one client can take.

        Raises EncodingError `precision-too-fine` beyond 2^52, where float64 is no longer exact.
        """
        clip = max((norm for _, norm in self.groups), default=self.clip_norm)
        norm = Fraction(max(clip, self.clip_norm))
        largest = max(math.ceil(self.scale * norm), self.scale, self.max_weight)
        if largest > _MAX_EXACT:
            raise EncodingError(
                "precision-too-fine",
                f"steps of {self.precision:g} up to {clip:g} are more than 2^52 steps",
                "a coarser precision or a smaller clip_norm",
            )
        return largest

    @property
    def bits(self) -> int:
        """The width b of the ring."""
        return bits_for(self.max_clients, self.largest)

    @property
    def metrics(self) -> tuple[tuple[str, float, float], ...]:
        return ((CLIPPED_FRACTION, 0.0, 1.0), *self.ranges)

    def clip_norm_of(self, name: str) -> tuple[int, float]:
        """Which group an array is in (-1: the rest) and that group's norm."""
        for index, (pattern, norm) in enumerate(self.groups):
            if fnmatchcase(name, pattern):
                return index, norm
        return -1, self.clip_norm


@dataclass(frozen=True, repr=False)
class Encoded:
    """One client's ring vector, and what the client's own log may say about it."""

    vector: Ring
    clipped: bool
    weight_capped: bool


@dataclass(frozen=True)
class Decoded:
    """The opened sum. `mean` is None, and there are no metrics, when the example weights add up to zero."""

    mean: dict[str, Array] | None
    example_weight: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Codec:
    """The encoding of one model under one plan. `length`: coordinates; `size`: bytes of a packed vector."""

    layout: Layout
    settings: Settings

    @cached_property
    def bits(self) -> int:
        return self.settings.bits

    @property
    def length(self) -> int:
        return self.layout.size + len(self.settings.metrics) + 1

    @property
    def size(self) -> int:
        return packed_size(self.length, self.bits)

    def encode(
        self,
        arrays: Mapping[str, Array],
        *,
        base: Mapping[str, Array] | None,
        num_examples: int,
        metrics: Mapping[str, float],
        seed: bytes,
    ) -> Encoded:
        """One client's contribution. `arrays` are checked (`Layout.check`); with `base`, its difference to
        them counts. `seed`: 32 secret random bytes, used once, for the rounding.

        Raises UpdateError `update-not-finite` when finite numbers have a difference or a norm that is not,
        and `update-metric-missing`.
        """
        settings = self.settings
        factors = self._clip_factors(arrays, base)
        clipped = any(factor < 1.0 for factor in factors.values())
        weight = min(num_examples, settings.max_examples) if settings.by_examples else 1
        share = weight / settings.max_weight
        scale, largest = float(settings.scale), self._largest_of_groups()
        vector = np.zeros(self.length, dtype=word(self.bits))
        for part, where, values in self.layout.blocks(arrays, base):
            group = settings.clip_norm_of(part.name)[0]
            values *= factors[group] * share * scale
            vector[where] = self._to_ring(_round(values, seed, where.start), largest[group])
        tail = self._tail(weight, {**metrics, CLIPPED_FRACTION: float(clipped)})
        vector[self.layout.size :] = self._to_ring(_round(tail, seed, self.layout.size), settings.largest)
        return Encoded(vector, clipped, settings.by_examples and num_examples > settings.max_examples)

    def decode(self, total: Ring) -> Decoded:
        """The mean of the contributions that add up to `total` modulo 2^b.

        Raises EncodingError `vector-length`, and `sum-implausible` when no honest contributions add up to it:
        one client's garbage cannot be told from an honest vector, but mostly the sum it spoils can.
        """
        if len(total) != self.length:
            raise EncodingError("vector-length", f"{self.length} coordinates expected, {len(total)} came")
        settings = self.settings
        *scaled, weight = centred(total[self.layout.size :], self.bits).tolist()
        most = weight * settings.scale / settings.max_weight
        self._require(0 <= weight <= settings.max_clients * settings.max_weight, "the example weights")
        highest = (most + settings.max_clients) * (1 + 1e-9)
        self._require(all(0 <= value <= highest for value in scaled), "the metrics")
        if weight == 0:
            return Decoded(None, weight, {})
        metrics = {}
        for (name, low, high), value in zip(settings.metrics, scaled, strict=True):
            position = min(value / most, 1.0)  # rounding may lead out of the range
            metrics[name] = low * (1 - position) + high * position
        return Decoded(self._mean(total, most), weight, metrics)

    def _mean(self, total: Ring, most: float) -> dict[str, Array]:
        """`most`: what a coordinate's sum would be if it were one in every client."""
        mean = {}
        squares, sizes = dict.fromkeys(self._norms(), 0.0), dict.fromkeys(self._norms(), 0)
        for part in self.layout.parts:
            group = self.settings.clip_norm_of(part.name)[0]
            sizes[group] += part.stop - part.start
            flat = np.empty(part.stop - part.start, dtype="f8" if part.dtype == "float64" else "f4")
            for at in range(0, len(flat), BLOCK):
                block = total[part.start + at : min(part.start + at + BLOCK, part.stop)]
                steps = centred(block, self.bits).astype(np.float64)
                squares[group] += float(np.dot(steps, steps))
                flat[at : at + len(block)] = steps / most
            mean[part.name] = flat.reshape(part.shape)
        for group, norm in self._norms().items():
            rounding = self.settings.max_clients * math.sqrt(sizes[group])
            self._require(math.sqrt(squares[group]) <= (norm * most + rounding) * (1 + 1e-9), "its length")
        return mean

    def _clip_factors(
        self, arrays: Mapping[str, Array], base: Mapping[str, Array] | None
    ) -> dict[int, float]:
        squares: dict[int, float] = {}
        norms: dict[int, float] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for part, _, values in self.layout.blocks(arrays, base):
                group, norms_of_group = self.settings.clip_norm_of(part.name)
                norms[group] = norms_of_group
                squares[group] = squares.get(group, 0.0) + float(np.dot(values, values))
        if not all(map(math.isfinite, squares.values())):
            raise UpdateError(
                "update-not-finite",
                "the update is too large for its norm to be computed",
                "a smaller learning rate, or gradient clipping in training",
            )
        return {
            group: min(1.0, norms[group] / math.sqrt(square)) if square > 0 else 1.0
            for group, square in squares.items()
        }

    def _norms(self) -> dict[int, float]:
        """Group -> clip norm; -1 is the rest."""
        return {-1: self.settings.clip_norm, **{i: norm for i, (_, norm) in enumerate(self.settings.groups)}}

    def _largest_of_groups(self) -> dict[int, int]:
        return {group: math.ceil(self.settings.scale * norm) for group, norm in self._norms().items()}

    def _require(self, plausible: bool, what: str) -> None:
        if not plausible:
            raise EncodingError(
                "sum-implausible",
                f"{what} in the opened sum cannot come of clients that keep to the plan",
                "somebody sent garbage; the sum does not say who",
            )

    def _to_ring(self, rounded: npt.NDArray[np.float64], largest: int) -> Ring:
        np.clip(rounded, -largest, largest, out=rounded)
        modulus_word = word(self.bits)
        lifted = rounded.astype(np.int64).astype(modulus_word)
        if self.bits < 8 * modulus_word.itemsize:
            lifted &= modulus_word.type((1 << self.bits) - 1)
        return lifted

    def _tail(self, weight: int, metrics: Mapping[str, float]) -> npt.NDArray[np.float64]:
        settings = self.settings
        share = weight / settings.max_weight
        tail: list[float] = []
        for name, low, high in settings.metrics:
            if name not in metrics:
                raise UpdateError(
                    "update-metric-missing",
                    f"the plan averages the metric '{name}', and this client did not report it",
                    "return it from train or evaluate; every client reports every declared metric",
                )
            value = min(max(float(metrics[name]), low), high)
            position = (value / 2 - low / 2) / (high / 2 - low / 2)  # no difference overflows
            tail.append(position * share * settings.scale)
        return np.array([*tail, weight], dtype=np.float64)


def _round(values: npt.NDArray[np.float64], seed: bytes, start: int) -> npt.NDArray[np.float64]:
    """Stochastic rounding of coordinates `start` onwards: up with probability the fraction, to 2^-32.

    An integer stays what it is.
    """
    low = np.floor(values)
    fraction = values - low
    fraction *= 2.0**32
    low += expand(seed, len(values), "<u4", start) < fraction
    return low
