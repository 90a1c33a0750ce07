"""What both ends of a stream must agree on: the name of the call, and how gRPC keeps it alive."""

from __future__ import annotations

import asyncio
from typing import Final

import grpc

from secagg.transport.envelopes import MESSAGE_LIMIT

__all__ = ["BROKEN", "JOIN", "METHOD", "OPTIONS", "SERVICE"]

SERVICE: Final = "secagg.v1.Aggregation"
JOIN: Final = "Join"
METHOD: Final = f"/{SERVICE}/{JOIN}"

OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
)
"""A ping every 30 s from each end however silent the training, and no limit on silence."""

BROKEN: Final = (grpc.RpcError, grpc.aio.BaseError, grpc.aio.UsageError, asyncio.InvalidStateError)
"""What gRPC raises when the other side is gone."""
