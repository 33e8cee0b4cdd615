"""The client of `/health`, without a library: a health check runs every few seconds and must be cheap."""

import http.client
import json
from ipaddress import ip_address
from typing import Any

from autotagger.errors import BadConfig
from autotagger.settings import ServiceSettings

#: It answers in a millisecond or hangs.
TIMEOUT_S = 5.0
#: More than an answer of ours ever has: whoever has taken the port may send anything.
MAX_BYTES = 1 << 16
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def ask(service: ServiceSettings) -> dict[str, Any]:
    """The answer of `/health` on this machine: `live`, `ready`, `reasons`, `warnings`.

    Not live if nothing answers.

    Raises BadConfig if `[service] listen_port` is 0.
    """
    if not service.listen_port:
        raise BadConfig("[service] listen_port is 0, so there is nothing to ask: set a port")
    host = _reachable(service.listen_host)
    connection = http.client.HTTPConnection(host, service.listen_port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        answer = json.loads(connection.getresponse().read(MAX_BYTES))
        reasons = [str(reason) for reason in answer["reasons"]]
        warnings = [str(warning) for warning in answer.get("warnings", ())]
        return {
            "live": bool(answer["live"]),
            "ready": bool(answer["ready"]),
            "reasons": reasons,
            "warnings": warnings,
        }
    except (OSError, http.client.HTTPException) as error:
        reason = (
            f"nothing answers at {host} port {service.listen_port} ({_why(error)}): is `autotagger run` running?"
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = f"another program answers at {host} port {service.listen_port}: set [service] listen_port"
    finally:
        connection.close()
    return {"live": False, "ready": False, "reasons": [reason], "warnings": []}


def _reachable(host: str) -> str:
    """The address to ask a server that listens on every address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return _LOOPBACK[address.version] if address.is_unspecified else host


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
