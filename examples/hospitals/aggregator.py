"""The aggregator of both runs: first the moments, then the model. It sees two sums, and no hospital's part.

python aggregator.py HOST:PORT
"""

from __future__ import annotations

import sys

import hospital

import secagg

if __name__ == "__main__":
    credentials, listen = secagg.Credentials.load("certs/aggregator"), sys.argv[1]
    for plan, start in (
        ("moments.toml", hospital.START_OF_MOMENTS),
        ("training.toml", hospital.START_OF_TRAINING),
    ):
        server = secagg.Server(start, secagg.Plan.load(plan), credentials=credentials, listen=listen)
        listen = server.address
        print(f"{plan}: listening on {listen}", flush=True)
        result = server.run()
        rounds = [f"{report.code or 'summed'} ({report.survivors})" for report in result.history]
        print(f"{plan}: {rounds[-1]} after {len(rounds)} rounds", flush=True)
