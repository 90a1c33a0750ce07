"""gRPC only: frames, chunks, streams. What the coordinator and the participant say, over mutual TLS.

`GrpcLink` is the server's side and `Connection` a client's. Nothing else of the library knows gRPC, and this
room knows nothing of what the frames mean.

gRPC's core writes to standard error by itself. What it has to say of a failed handshake is said in better
words here, so it is kept quiet unless `GRPC_VERBOSITY` asks for it.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from secagg.transport.connection import Connection
from secagg.transport.link import GrpcLink

__all__ = ["Connection", "GrpcLink"]
