"""What a party saw of a real run: the only thing an attack is given.

capture         plays a run in one process, and gives the server's view of it
Recorder        the same for any run: its two ears go into `secagg.Server` or `secagg.simulate`
View            rounds, what their holder knew beside them, and the digest of the transcript
differences     single updates, out of sums of cohorts that differ by a member
save, load      a view in a folder
"""

from secagg_attacks.views.differences import Difference, differences
from secagg_attacks.views.files import load, save
from secagg_attacks.views.recorder import Recorder, capture
from secagg_attacks.views.view import Account, Arrays, RoundView, ThreatModel, View, ViewError

__all__ = [
    "Account",
    "Arrays",
    "Difference",
    "Recorder",
    "RoundView",
    "ThreatModel",
    "View",
    "ViewError",
    "capture",
    "differences",
    "load",
    "save",
]
