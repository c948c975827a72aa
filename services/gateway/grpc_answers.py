"""Calls by gRPC that the gateway answers itself: counted, timed, each failure told as the call's status."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from services.gateway import metrics
from services.gateway.errors import DoorError, abort, code_name, defect
from services.gateway.forward import Relayed

log = logging.getLogger("forgelog.gateway")

T = TypeVar("T")


async def answered(label: str, context: Any, work: Awaitable[T]) -> T:
    """What a call's work gives. A failure ends the call, with details; `label` names the call: service/method."""
    started, code = time.perf_counter(), "ok"
    try:
        return await work
    except DoorError as error:
        code = code_name(error.code)
        await abort(context, error)
    except Relayed as refusal:
        code = code_name(refusal.code)
        await context.abort(refusal.code, refusal.details, refusal.trailing)
        raise AssertionError("abort returned") from None
    except Exception:
        code = "internal"
        log.exception("%s failed", label)
        await abort(context, defect())
    finally:
        metrics.seconds.labels("grpc", label).observe(time.perf_counter() - started)
        metrics.requests.labels("grpc", label, code).inc()
