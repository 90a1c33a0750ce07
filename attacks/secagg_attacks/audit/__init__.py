"""Lower bounds on epsilon from the scores of an attack on canaries, and whether they keep what they promise.

clopper_pearson_bound   error rates of a few thresholds; scores independent
one_run_bound           guesses in a single run, whatever canaries do to one another
f_dp_bound              the same guesses against a Gaussian trade-off function
gaussian_bound          one point of a Gaussian trade-off function, or mean and variance of normal scores
coverage                how often each reports more than the truth, where the truth is known
"""

from secagg_attacks.audit.bound import AuditError, Bound
from secagg_attacks.audit.clopper_pearson import clopper_pearson_bound
from secagg_attacks.audit.coverage import AUDITORS, Auditor, Coverage, coverage
from secagg_attacks.audit.f_dp import f_dp_bound
from secagg_attacks.audit.gaussian import gaussian_bound
from secagg_attacks.audit.one_run import one_run_bound

__all__ = [
    "AUDITORS",
    "AuditError",
    "Auditor",
    "Bound",
    "Coverage",
    "clopper_pearson_bound",
    "coverage",
    "f_dp_bound",
    "gaussian_bound",
    "one_run_bound",
]
