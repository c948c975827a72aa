"""A plugin for MLflow's client: with ``MLFLOW_TRACKING_AUTH=forgelog`` it sends the platform's key to its gateway.

The key is read where every command finds it (`forgelog.where`), at each request, so a key that was renewed holds at
once. It goes to no other address. MLflow finds the plugin by the entry point ``mlflow.request_auth_provider``. Must not
import MLflow.
"""

from __future__ import annotations

from typing import Any

from events.process.front_door import leads_to
from forgelog.errors import ForgelogError
from forgelog.where import find_gateway

NAME = "forgelog"


class ForgelogAuth:
    """What MLflow asks a provider for (`mlflow.tracking.request_auth`)."""

    def get_name(self) -> str:
        return NAME

    def get_auth(self) -> Bearer:
        return Bearer()


class Bearer:
    """Adds the key to a request of the library `requests`, unless that has credentials."""

    def __call__(self, request: Any) -> Any:
        if "Authorization" in request.headers:
            return request
        try:
            gateway = find_gateway()
        except ForgelogError:
            return request  # the gateway says what is missing
        if gateway.key and leads_to(request.url, gateway.address):
            request.headers["Authorization"] = f"Bearer {gateway.key}"
        return request
