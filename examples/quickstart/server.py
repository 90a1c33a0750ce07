"""The aggregator: averages what the hospitals learn, and sees only their sum.

python server.py [HOST:PORT]
"""

import sys

import numpy as np

import secagg


def show(report: secagg.RoundReport) -> None:
    what = report.code or f"mean loss {report.metrics['loss']:.3f}"
    print(f"round {report.round} of {report.rounds}: {report.survivors} hospitals, {what}", flush=True)


if __name__ == "__main__":
    server = secagg.Server(
        {"weights": np.zeros(4), "bias": np.zeros(1)},
        secagg.Plan.load("plan.toml"),
        credentials=secagg.Credentials.load("certs/aggregator"),
        listen=sys.argv[1] if len(sys.argv) > 1 else "localhost:8443",
        on_round=show,
    )
    print(f"listening on {server.address}", flush=True)
    result = server.run()
    print(f"the model is in {result.run_dir}/checkpoints")
