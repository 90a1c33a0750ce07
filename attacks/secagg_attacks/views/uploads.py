"""One client's upload as the server has it, read as an update: the only room that knows their wire formats.

A masked vector is read in the steps of its encoding, as the update that it would be if its masks were not
there; with masks it is spread evenly over the ring. A ciphertext is read as the numbers it is made of, spread
evenly over the range of its first prime. An attack that takes them for an update learns what they give away.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import secagg
from secagg.encoding.codec import Codec
from secagg.encoding.packing import unpack
from secagg.encoding.ring import centred
from secagg.homomorphic.messages import UploadReply
from secagg.homomorphic.scheme import scheme_for
from secagg.homomorphic.words import unpack_words
from secagg.masking.messages import MaskReply
from secagg.protections import codec_of
from secagg_attacks.views.view import Arrays, ViewError

__all__ = ["STAGES", "check_readable", "read_upload"]

STAGES = ("mask", "upload")
"""Stages whose reply is a client's protected vector, of masks and of the rest."""


def check_readable(plan: secagg.Plan) -> None:
    """Raises ViewError `view-plan` for a plan whose uploads or means are no updates."""
    if plan.protection.kind == "none" and plan.privacy.unit == "client":
        raise ViewError(
            "view-plan",
            'protection "none" with noise that the server adds: an upload has none yet, and cannot be read',
            'for what the server sees, [privacy] unit = "none"; for what is published, masks',
        )
    if plan.privacy.ring_bits is not None or plan.privacy.adaptive_clipping is not None:
        raise ViewError(
            "view-plan",
            "a small ring rotates updates, and adaptive clipping scales them anew in each round",
            "leave ring_bits and adaptive_clipping out of a plan that is attacked",
        )


def read_upload(plan: secagg.Plan, model: Arrays, body: bytes) -> Arrays:
    """The body of a `mask` or `upload` reply, by its array's names.

    Without protection in the model's own types, otherwise float64. Raises EncodingError or ProtocolError
    where it is no such reply.
    """
    codec = codec_of(plan, model)
    match plan.protection.kind:
        case "none":
            return codec.decode(unpack(body, codec.length, codec.bits)).mean or {}
        case "masks":
            vector = unpack(MaskReply.from_bytes(body).vector, codec.length, codec.bits)
            return _shaped(codec, centred(vector, codec.bits) / _steps(codec))
        case "bfv" | "ckks" as kind:
            scheme = scheme_for(kind, plan.cohort.max_clients, codec.bits, codec.length)
            count = scheme.blocks * 2 * scheme.degree
            words = unpack_words(UploadReply.from_bytes(body).ciphertext, scheme.primes, count)[0]
            # From -1 to 1, and then as long as the largest update there may be, or about that.
            length = codec.settings.total_clip / np.sqrt(codec.layout.size / 3)
            return _shaped(codec, (words / scheme.primes[0] * 2 - 1) * length)


def _steps(codec: Codec) -> float:
    """Steps of the ring in 1 of a client's own update, of a plan that is readable."""
    noise = codec.settings.noise
    if noise is None or noise.update is None:
        return codec.settings.scale
    return codec.settings.clip_steps / codec.settings.total_clip


def _shaped(codec: Codec, numbers: npt.NDArray[np.float64]) -> Arrays:
    return {part.name: numbers[part.start : part.stop].reshape(part.shape) for part in codec.layout.parts}
