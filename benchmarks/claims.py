"""Every figure the documents claim, measured again and held against its limit.

    python benchmarks/claims.py            # or: make bench; about forty minutes on two cores
    python benchmarks/claims.py masking    # only the claims whose name begins so

Runs the other benchmarks as a user would, writes what they print to `benchmarks/results/`, and exits with 1
if a limit is passed. Times are CPU seconds; those of two programs are only ever compared within one run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
Figures = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A benchmark, and what its figures must satisfy: name of the limit -> (figure, limit)."""

    name: str
    command: str
    limits: Callable[[Figures], dict[str, tuple[float, float]]]


def _memory_of_ten(figures: Figures) -> dict[str, tuple[float, float]]:
    three = json.loads((HERE / "results" / "transfer-3.json").read_text())["server_vmhwm_mib"]
    return {"server memory, 10 clients over 3": (figures["server_vmhwm_mib"] / three, 1.15)}


def _private(figures: Figures) -> dict[str, tuple[float, float]]:
    return {
        f"points short at epsilon {case['epsilon']:g}": (case["target"] - case["accuracy"], 0)
        for case in figures["cases"]
    }


def _homomorphic(figures: Figures) -> dict[str, tuple[float, float]]:
    limits = {}
    for clients in (10, 100):
        bfv, ckks = figures[f"bfv-17-{clients}"], figures[f"ckks-12-{clients}"]
        limits |= {
            f"bytes a parameter, BFV, {clients}": (bfv["bytes_per_parameter"], 8.2),
            f"bytes a parameter, CKKS, {clients}": (ckks["bytes_per_parameter"], 10.6),
            f"BFV encrypted over NVFlare's CKKS, {clients}": (bfv["over_nvflare"], 0.8),
            f"CKKS encrypted over NVFlare's CKKS, {clients}": (ckks["over_nvflare"], 1.2),
        }
    for name in ("bfv-17-100", "ckks-12-100"):
        of = figures[name]
        upload_mib = of["bytes_per_parameter"] * figures["dim"] / 2**20
        in_memory = 2 * of["vector_mib"] + 2 * upload_mib
        limits[f"server memory over two sums and two uploads, {name}"] = (of["server_mib"] / in_memory, 1)
    return limits


def _membership(figures: Figures) -> dict[str, tuple[float, float]]:
    auc, _, rate = figures["tolerance"]
    limits = {}
    for one in figures["attacks"]:
        if one["known"]:
            measured = (one["auc"], one["tpr_1"], one["tpr_01"])
            off = [abs(is_ - known) for is_, known in zip(measured, one["known"], strict=True)]
            limits[f"AUC off the known one, {one['attack']}"] = (off[0], auc)
            limits[f"points off the known rates, {one['attack']}"] = (max(off[1:]), rate)
    return limits


def _audit(figures: Figures) -> dict[str, tuple[float, float]]:
    limits = {}
    for one in figures["cases"]:
        name = f"{one['method']}, true epsilon {one['epsilon']:g}"
        limits[f"share of audits above the truth, {name}"] = (one["over"], one["over_allowed"])
        if one["expected"] is not None:
            limits[f"median short of nine tenths of the known one, {name}"] = (
                0.9 * one["expected"] - one["median"],
                0,
            )
    return limits


def _inversion(figures: Figures) -> dict[str, tuple[float, float]]:
    cases = {case["case"]: case for case in figures["cases"]}
    squared = {"analytic": 1e-10, "analytic, real round": 1e-10}
    squared |= {f"deep leakage, {kind}_lenet, 32x32": 1e-4 for kind in ("sigmoid", "tanh")}
    limits = {f"squared error, {name}": (cases[name]["mse"], most) for name, most in squared.items()}
    inverted = cases["inverting gradients, 10 crops"]["psnr"]
    return limits | {"dB short of 27, inverting gradients": (27 - inverted, 0)}


def _through_sum(figures: Figures) -> dict[str, tuple[float, float]]:
    lies = [
        case
        for case in figures["cases"]
        if case["attack"] == "inconsistent" and case["protection"] in ("masks", "bfv", "ckks")
    ]
    return {
        "servers with two models that masks or ciphertexts let through": (
            sum(not case["blocked"] for case in lies),
            0,
        ),
        "attacks that find nothing where they must": (sum(not case["holds"] for case in figures["cases"]), 0),
    }


def _matrix(figures: Figures) -> dict[str, tuple[float, float]]:
    limits = {}
    for case, most in zip(figures["cases"], (60, 600), strict=True):
        limits[f"seconds of the whole command, budget {case['budget']}"] = (case["seconds"], most)
        limits[f"lower bounds above their account, budget {case['budget']}"] = (len(case["failures"]), 0)
    longest = figures["cases"][-1]
    missed = sum(not wins for wins in longest["wins_without_protection"].values())
    hidden = list(longest["hidden"].values())
    told = sum(verdict not in ("at chance", "not shown") for verdict in hidden)
    return limits | {
        "cells without a figure for want of time": (longest["left_out"], 0),
        "attacks on uploads that do not win without protection": (missed, 0),
        "attacks on masked uploads and ciphertexts that are told apart from chance": (told, 0),
        "those that are in doubt": (hidden.count("not shown"), 3),
    }


CLAIMS: Final = (
    Claim(
        "federated_digits",
        "federated_digits.py --seeds 5 --json",
        lambda figures: {
            "mean gap to the pooled model, points": (figures["mean_gap"], 1.5),
            "largest gap, points": (figures["largest_gap"], 3),
            "points short of 15 above the average client alone": (15 - figures["mean_lead_over_alone"], 0),
        },
    ),
    Claim("import_time", "import_time.py --json", lambda _figures: {}),
    Claim(
        "budget_check",
        "budget_check.py --json",
        lambda figures: {
            f"seconds of a check at 1 000 rounds, {who}": (figures[f"{who}_s"], 0.5)
            for who in ("server_discrete_gaussian", "server_skellam", "client", "client_example")
        },
    ),
    Claim(
        "noise",
        "noise.py --json",
        lambda figures: {
            "seconds of 1 M discrete Gaussians": (figures["gaussian_s"], 0.15),
            "seconds of 1 M Skellam": (figures["skellam_s"], 0.25),
        },
    ),
    Claim(
        "noised_encoding",
        "noised_encoding.py --json",
        lambda figures: {
            f"seconds more at 1 M parameters, {what}": (figures[f"{what}_overhead_s"], 0.25)
            for what in ("noised", "skellam", "small_ring")
        },
    ),
    Claim(
        "masking-100x100k",
        "masking.py --clients 100 --dim 100000 --dropout 0.1 --json",
        lambda figures: {
            "seconds of a client": (figures["client_cpu_s"], 0.060),
            "seconds of the server": (figures["server_cpu_s"], 1.5),
            "error of the mean": (figures["max_abs_error"], 1e-6),
        },
    ),
    Claim(
        "masking-101x1m",
        "masking.py --clients 101 --dim 1000000 --dropout 0 --json",
        lambda figures: {
            "100 masks of 1 M over their keystream": (
                figures["client_mask_s"] / figures["client_keystream_s"],
                1.5,
            )
        },
    ),
    Claim("homomorphic", "homomorphic.py --dim 1000000 --json", _homomorphic),
    Claim("masking-50x1m", "masking.py --clients 50 --dim 1000000 --dropout 0.1 --json", lambda _figures: {}),
    Claim(
        "transfer-3",
        "transfer.py --clients 3 --mb 400 --json",
        lambda figures: {"MB of server memory": (figures["server_vmhwm_mib"] * 1.048576, 2000)},
    ),
    Claim("transfer-10", "transfer.py --clients 10 --mb 400 --json", _memory_of_ten),
    *(
        Claim(f"private_digits-{case}", f"private_digits.py --case {case} --seeds 5 --json", _private)
        for case in ("example-5", "client-100", "client-1000")
    ),
    Claim("attacks_membership", "attacks_membership.py --json", _membership),
    Claim("attacks_audit", "attacks_audit.py --json", _audit),
    Claim("attacks_inversion", "attacks_inversion.py --json", _inversion),
    Claim("attacks_matrix", "attacks_matrix.py --json", _matrix),
    Claim("attacks_through_sum", "attacks_through_sum.py --json", _through_sum),
)


def holds(claim: Claim) -> bool:
    """Measures one claim, keeps its figures, prints each limit."""
    program, *arguments = claim.command.split()
    run = subprocess.run([sys.executable, HERE / program, *arguments], stdout=subprocess.PIPE, text=True)
    if run.returncode and not run.stdout:
        print(f"{claim.name}: failed")
        return False
    figures: Figures = json.loads(run.stdout)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{claim.name}.json").write_text(json.dumps(figures, indent=2) + "\n")
    good = run.returncode == 0
    for limit, (figure, most) in claim.limits(figures).items():
        good &= figure <= most
        print(f"{claim.name}: {limit}: {figure:.4g} (at most {most:g})")
    print(f"{claim.name}: {'holds' if good else 'DOES NOT HOLD'}", flush=True)
    return good


if __name__ == "__main__":
    chosen = [claim for claim in CLAIMS if claim.name.startswith(tuple(sys.argv[1:]) or "")]
    results = [holds(claim) for claim in chosen]
    sys.exit(not all(results))
