"""What clients get where Envoy answers itself: the Open Inference Protocol's errors, with words that help.

Pure. `forgelog-router` answers without asking a replica only where it refuses or fails; each answer is a JSON object
with ``error``. Of gRPC calls Envoy makes a status of it.
"""

from __future__ import annotations

from services.deployments.router.clusters import Resource

RETRY: Resource = {"header": {"key": "retry-after", "value": "1"}, "append_action": "ADD_IF_ABSENT"}


def local_replies() -> Resource:
    """The listeners' `local_reply_config`."""
    return {
        "mappers": [
            _flags(
                ["UO"],
                "the deployment has as many requests in flight as it may have; come again in a second",
                [RETRY],
            ),
            _status(429, "the caller has asked as often as the endpoint allows; come again later, see Retry-After"),
            _flags(["NR"], "there is no deployment and no endpoint at this address, or none for this kind of request"),
            _flags(["UH", "NC"], "no replica of the deployment is ready; come again in a second", [RETRY]),
            _flags(["UF", "UC", "UR", "URX"], "the replica failed before it answered; ask again", [RETRY]),
            _flags(
                ["SI", "UT", "DT"],
                "nothing came in the time that the endpoint allows; ask for less at a time",
                status=504,
            ),
            _status(
                401,
                "a key of this deployment is needed, in the header authorization (Bearer) or x-api-key; none came, or "
                "it has expired, was revoked or is another's: %LOCAL_REPLY_BODY%",
            ),
            # Envoy's own words of these are few, and of a path none.
            _status(
                400,
                "the request is no HTTP that can be read in one way only, in its path, its headers or its length "
                "(%RESPONSE_CODE_DETAILS%)",
            ),
            _status(413, "the body is longer than the endpoint takes"),
            _status(
                403,
                "the key is not for this endpoint or was revoked, or the page's origin is not allowed, or the "
                "connection can't be upgraded here (%RESPONSE_CODE_DETAILS%)",
            ),
            _errors(),
        ],
    }


def _flags(flags: list[str], text: str, headers: list[Resource] | None = None, status: int = 0) -> Resource:
    mapper: Resource = {"filter": {"response_flag_filter": {"flags": flags}}, "body_format_override": _body(text)}
    if headers:
        mapper["headers_to_add"] = headers
    if status:
        mapper["status_code"] = status
    return mapper


def _status(status: int, text: str) -> Resource:
    compared = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"forgelog.reply_{status}"}}
    return {"filter": {"status_code_filter": {"comparison": compared}}, "body_format_override": _body(text)}


def _errors() -> Resource:
    """All others that are errors, in Envoy's words. What the router answers for itself is none."""
    compared = {"op": "GE", "value": {"default_value": 400, "runtime_key": "forgelog.reply_errors"}}
    return {
        "filter": {"status_code_filter": {"comparison": compared}},
        "body_format_override": _body("%LOCAL_REPLY_BODY%"),
    }


def _body(text: str) -> Resource:
    return {"json_format": {"error": text}, "content_type": "application/json"}


def direct(path: str, status: int, body: str) -> Resource:
    """A route that answers one path."""
    return {
        "match": {"path": path},
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }
