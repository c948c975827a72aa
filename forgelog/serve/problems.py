"""What can be wrong with a request, with its status in HTTP and in gRPC. Each text is for the person who sent it."""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """A kind of failure: its status in HTTP, and the name of its status in gRPC."""

    INVALID = (400, "INVALID_ARGUMENT")
    FORBIDDEN = (403, "PERMISSION_DENIED")
    NOT_FOUND = (404, "NOT_FOUND")
    METHOD = (405, "UNIMPLEMENTED")
    TOO_LARGE = (413, "RESOURCE_EXHAUSTED")
    CODING = (415, "INVALID_ARGUMENT")
    MODEL_FAILED = (500, "INTERNAL")
    UNIMPLEMENTED = (501, "UNIMPLEMENTED")
    UNAVAILABLE = (503, "UNAVAILABLE")
    TOO_LATE = (504, "DEADLINE_EXCEEDED")

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def code(self) -> str:
        return self.value[1]

    @property
    def ours(self) -> bool:
        """Whether the model, a script or the server failed."""
        return self in (Fault.MODEL_FAILED, Fault.TOO_LATE)


class ServingError(Exception):
    """A request that can't be answered; the text says why and what to do."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


def invalid(message: str) -> ServingError:
    """The request is wrong."""
    return ServingError(Fault.INVALID, message)


class NotServable(Exception):
    """The model can't be served as it is described, wherever it is tried; the text says why and what to do."""


class NotServableHere(NotServable):
    """It can't be served on this machine or at this time: another try may end otherwise."""


SIGN = "register the version with a signature (forgelog models publish --signature FILE)"
"""What to do about a model of which nobody knows what it takes or gives."""


def missing(package: str, extra: str, what: str) -> NotServable:
    """A library is not installed."""
    return NotServableHere(f"{what} needs {package}, which is not installed here; pip install 'forgelog[{extra}]'")
