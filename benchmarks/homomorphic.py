"""What homomorphic summation costs beside masks, and beside CKKS as it is commonly set up.

    python benchmarks/homomorphic.py --dim 1000000 --json

Steps, in CPU seconds of one thread, each row's next to the others' in every repetition, medians told:

    encrypt_s   a client: values in [-1, 1], rounded, encrypted, as bytes
    add_s       the server: one upload's bytes, checked and added into the sum
    open_s      a decryptor: the sum's bytes, decrypted, exact, as bytes
    key_s       once a process: parameters and a key pair

`over_nvflare` is the median over the repetitions of `encrypt_s` over NVFlare's. NVFlare's row is what its
provisioning makes by default (`HEBuilder` in nvflare/lighter/impl/he.py: TenSEAL CKKS, degree 8192, primes
of 60, 40 and 40 bits, scale 2^40, one symmetric key for all clients) and its filter does with an array
(`HEModelEncryptor` in nvflare/app_opt/he/model_encryptor.py: one `ckks_vector`, serialised); the array here
is the whole vector, so that nothing is lost to small layers.

Rounds (`session_round`): all clients' whole sessions and the server's, signatures, certificates and digests
included; every client has a vector of its own. `server_mib` is the peak of the server's memory above where
its process began; `vector_mib` is one encrypted (or masked) vector as words in memory. `largest_error` is of
a coordinate of the sum over all clients (NVFlare's: over 100). A wrong integer anywhere ends the benchmark
with an error.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tenseal
from session_round import Setting, play

from secagg.encoding.packing import pack
from secagg.encoding.ring import centred
from secagg.homomorphic.engine import SecretKey
from secagg.homomorphic.words import add_words, pack_words, unpack_words, zero_words

Values = npt.NDArray[np.float64]

COHORTS: Final = (10, 100)
STRIDE: Final = 1009
"""A client's values are a stretch of one random vector, this much after those of the client before."""

DEFAULT_BITS: Final = 20
"""Of the fraction, at the default precision of 1e-6."""


class Ours:
    """The steps of one of our schemes."""

    def __init__(self, setting: Setting, values: Values) -> None:
        self.setting = setting
        self.scheme = setting.terms.scheme
        begin = time.process_time()
        self.secret, self.public = SecretKey.fresh(self.scheme)
        self.key_s = time.process_time() - begin
        self._count = self.scheme.blocks * 2 * self.scheme.degree
        self._values = values
        self._total = zero_words(self.scheme.primes, self._count)
        self._upload = self.public.encrypt_vector(setting.ring(values))
        add_words(self._upload, self.scheme.primes, self._total)
        self._sum = pack_words(self._total, self.scheme.primes)

    def encrypt(self) -> None:
        self.public.encrypt_vector(self.setting.ring(self._values))

    def add(self) -> None:
        add_words(self._upload, self.scheme.primes, self._total)

    def open(self) -> None:
        scheme = self.scheme
        words = unpack_words(self._sum, scheme.primes, self._count)
        width = 2 * scheme.degree
        opened = [
            self.secret.decrypt([prime[block * width : (block + 1) * width] for prime in words])
            for block in range(scheme.blocks)
        ]
        pack(np.concatenate(opened)[: scheme.length], scheme.bits)

    def facts(self) -> dict[str, Any]:
        scheme = self.scheme
        return {
            "ring_bits": scheme.bits,
            "degree": scheme.degree,
            "prime_bits": [prime.bit_length() for prime in scheme.primes],
            "special_bits": scheme.special.bit_length(),
            "bytes_per_parameter": scheme.size / scheme.length,
            "key_s": self.key_s,
        }


class NVFlare:
    """The same steps as NVFlare takes them by default."""

    def __init__(self, values: Values) -> None:
        begin = time.process_time()
        self._context = tenseal.context(
            tenseal.SCHEME_TYPE.CKKS,
            poly_modulus_degree=8192,
            coeff_mod_bit_sizes=[60, 40, 40],
            encryption_type=tenseal.ENCRYPTION_TYPE.SYMMETRIC,
            n_threads=1,
        )
        self._context.generate_relin_keys()
        self._context.global_scale = 2**40
        self.key_s = time.process_time() - begin
        public = self._context.serialize(save_public_key=False, save_secret_key=False)
        self._servers = tenseal.context_from(public, n_threads=1)
        self._values = values
        self.upload = self._encrypted(values)
        self._total = tenseal.ckks_vector_from(self._servers, self.upload)

    def _encrypted(self, values: Values) -> bytes:
        with _quiet():
            serialised: bytes = tenseal.ckks_vector(self._context, values).serialize()
        return serialised

    def encrypt(self) -> None:
        self._encrypted(self._values)

    def add(self) -> None:
        self._total + tenseal.ckks_vector_from(self._servers, self.upload)

    def open(self) -> None:
        tenseal.ckks_vector_from(self._context, self.upload).decrypt()

    def largest_error(self, clients: Callable[[int], Values]) -> float:
        """Of a coordinate of the sum over the larger cohort."""
        truth, total = np.zeros_like(self._values), None
        for number in range(max(COHORTS)):
            values = clients(number)
            truth += values
            one = tenseal.ckks_vector_from(self._servers, self._encrypted(values))
            total = one if total is None else total + one
        opened = tenseal.ckks_vector_from(self._context, total.serialize()).decrypt()
        return float(np.max(np.abs(np.array(opened) - truth)))

    def facts(self) -> dict[str, Any]:
        return {"bytes_per_parameter": len(self.upload) / len(self._values), "key_s": self.key_s}


@contextmanager
def _quiet() -> Iterator[None]:
    """TenSEAL's native code says on standard output, for each long vector, which operations it now lacks."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def steps(rows: dict[str, Ours | NVFlare], repetitions: int) -> dict[str, dict[str, float]]:
    """Medians over interleaved repetitions, and the ratio within them."""
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in rows}
    for _ in range(repetitions):
        for step in ("encrypt", "add", "open"):
            for name, row in rows.items():
                gc.collect()
                begin = time.process_time()
                getattr(row, step)()
                taken[name].setdefault(f"{step}_s", []).append(time.process_time() - begin)
    theirs = taken["nvflare"]["encrypt_s"]
    return {
        name: {step: statistics.median(seconds) for step, seconds in of.items()}
        | {"over_nvflare": statistics.median(map(float.__truediv__, of["encrypt_s"], theirs))}
        for name, of in taken.items()
    }


def whole_round(setting: Setting, clients: Callable[[int], Values]) -> dict[str, Any]:
    """The figures of one round whose sum is exact."""
    vectors, truth = {}, np.zeros(setting.dim)
    exact = np.zeros(setting.dim, dtype=np.int64)
    for number in range(setting.clients):
        values = clients(number)
        vectors[f"client-{number:03d}"] = vector = setting.ring(values)
        truth += values
        exact += centred(vector, setting.bits)
    played = play(setting, vectors)
    opened = centred(played.vector, setting.bits)
    if not np.array_equal(opened, exact):
        raise RuntimeError(f"the sum is wrong: {setting}")
    words = 4 * setting.dim
    if setting.kind != "masks":
        scheme = setting.terms.scheme
        words = 8 * len(scheme.primes) * scheme.blocks * 2 * scheme.degree
    error = float(np.max(np.abs(opened / (1 << setting.fractional_bits) - truth)))
    return {"largest_error": error, "vector_mib": words / 2**20, **played.figures()}


def name_of(setting: Setting) -> str:
    recompute = "-recompute" if setting.recompute else ""
    return f"{setting.kind}-{setting.fractional_bits}-{setting.clients}{recompute}"


def measure(dim: int, repetitions: int) -> dict[str, Any]:
    values = np.random.default_rng(0).uniform(-1, 1, dim + STRIDE * max(COHORTS))

    def clients(number: int) -> Values:
        return values[STRIDE * number :][:dim]

    settings = [
        Setting(kind, fraction, cohort, dim)
        for kind, fraction in (("bfv", 17), ("ckks", 12), ("bfv", DEFAULT_BITS), ("ckks", DEFAULT_BITS))
        for cohort in COHORTS
    ]
    nvflare = NVFlare(clients(0))
    rows: dict[str, Ours | NVFlare] = {"nvflare": nvflare}
    rows |= {name_of(setting): Ours(setting, clients(0)) for setting in settings}
    figures: dict[str, Any] = {"dim": dim, "repetitions": repetitions}
    measured = steps(rows, repetitions)
    for name, row in rows.items():
        figures[name] = row.facts() | measured[name]
    figures["nvflare"]["largest_error"] = nvflare.largest_error(clients)
    rows.clear()
    settings += [Setting("masks", DEFAULT_BITS, cohort, dim) for cohort in COHORTS]
    settings += [Setting("masks", 17, max(COHORTS), dim)]
    settings += [Setting("bfv", 17, 32, dim, recompute=True)]
    for setting in settings:
        gc.collect()
        figures.setdefault(name_of(setting), {"ring_bits": setting.bits}).update(
            whole_round(setting, clients)
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--dim", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    figures = measure(options.dim, options.repetitions)
    if options.json:
        print(json.dumps(figures))
        return
    for name, of in figures.items():
        print(f"{name:24s} {of if isinstance(of, int) else ''}")
        for key, value in of.items() if isinstance(of, dict) else ():
            print(f"    {key:22s} {value if isinstance(value, list) else f'{value:.6g}'}")


if __name__ == "__main__":
    main()
