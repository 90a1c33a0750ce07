"""The aggregator of both runs: first the moments, then the model. It sees sums, and nobody's part of any.

python aggregator.py [HOST:PORT HOST:PORT]
"""

from __future__ import annotations

import sys

import hospital

import secagg

if __name__ == "__main__":
    credentials = secagg.Credentials.load("certs/aggregator")
    addresses = sys.argv[1:] or ["localhost:8443", "localhost:8444"]
    servers = {
        plan: secagg.Server(start, secagg.Plan.load(plan), credentials=credentials, listen=address)
        for plan, start, address in zip(
            ("moments.toml", "training.toml"),
            (hospital.START_OF_MOMENTS, hospital.START_OF_TRAINING),
            addresses,
            strict=True,
        )
    }
    print("listening on", *(server.address for server in servers.values()), flush=True)
    for plan, server in servers.items():
        last = server.run().history[-1]
        outcome = last.code or f"a sum over {last.survivors} hospitals"
        print(f"{plan}: {outcome} in round {last.round} of {last.rounds}", flush=True)
