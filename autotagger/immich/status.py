"""What a status means: carry on, try again, this asset's fault, or the end of the run."""

from math import isfinite

from autotagger.errors import AssetFailed, AssetGone, AutotaggerError, Retryable, ServerRefused
from autotagger.immich.parsing import http_date_ms, problem
from autotagger.immich.transport import Reply, Request, Trouble

#: A server that asks for more patience than this gets this much.
_MAX_RETRY_AFTER_S = 120.0
#: Immich's words for ids that are unknown, foreign, or locked away: it does not tell which.
_NO_ACCESS = "not found or no"
_MISSING = "missing required permission:"
#: Kind of the ServerRefused of a call that the server does not know, or not in this form.
NOT_UNDERSTOOD = "not-understood"
#: Kind of the ServerRefused that one user's key brought about: another user's may do.
KEY_REFUSED = "key-refused"
#: Kind of the ServerRefused of a 401 or 403 that does not come from Immich, or not for the key's sake: one asset
#: may be the reason, see `client`.
PROXY_REFUSED = "proxy-refused"
#: How Immich begins its own 401s.
_KEY_WORDS = ("invalid api key", "invalid user token", "authentication required", "elevated permission")
_HOW_TO_ADD = "Immich: Account Settings > API Keys"


def judge(request: Request, reply: Reply) -> None:
    """Raise what `reply` means, if it is not a good answer.

    Trouble: worth another try. Retryable (`preview-missing`, `original-missing`): not now, maybe later.
    AssetGone, AssetFailed (`refused`): for good, for this asset. ServerRefused: nothing will work; its kind is
    `not-understood` when only this call is refused, `key-refused` when it is the key's fault, `proxy-refused` when
    it looks like the work of a proxy.
    """
    if 200 <= reply.status < 300:
        return
    said = problem(reply.body)
    if reply.status == 401 and said.lower().startswith(_KEY_WORDS):
        raise ServerRefused(
            f"Immich does not accept the API key ({said}): create a new one ({_HOW_TO_ADD})", kind=KEY_REFUSED
        )
    if reply.status in (401, 403):
        raise _forbidden(request, reply, said)
    if reply.status >= 500 or reply.status in (408, 425, 429) or not said:
        # Without Immich's own words a 4xx comes from a proxy, which says 404 while Immich restarts.
        raise Trouble(_line(request, reply, said), kind=f"http-{reply.status}", retry_after_s=retry_after_s(reply))
    raise _refused(request, reply, said)


def retry_after_s(reply: Reply) -> float | None:
    """Seconds that `Retry-After` asks for (a number, or a date on the server's clock), bounded; None without."""
    text = reply.headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until_ms, now_ms = http_date_ms(text), http_date_ms(reply.headers.get("Date"))
        if until_ms is None or now_ms is None:
            return None
        seconds = (until_ms - now_ms) / 1000
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S) if isfinite(seconds) else None


def _forbidden(request: Request, reply: Reply, said: str) -> ServerRefused:
    if said.lower().startswith(_MISSING):
        return ServerRefused(
            f"the API key lacks the permission {said[len(_MISSING) :].strip()}: add it ({_HOW_TO_ADD})",
            kind=KEY_REFUSED,
        )
    if said:
        return ServerRefused(f"{request.name} is forbidden ({reply.status}: {said})", kind=PROXY_REFUSED)
    return ServerRefused(
        f"{request.name} is forbidden by a proxy in front of Immich ({reply.status}, no message from Immich): "
        "let the proxy pass everything below /api that carries an API key",
        kind=PROXY_REFUSED,
    )


def _refused(request: Request, reply: Reply, said: str) -> AutotaggerError:
    line = _line(request, reply, said)
    if said.startswith("Cannot ") or request.about is None:
        return ServerRefused(f"{line}: this Immich does not speak as expected", kind=NOT_UNDERSTOOD)
    if reply.status == 404 and request.picture:
        kind = "original-missing" if request.name == "original" else "preview-missing"
        return Retryable(f"{request.about}: Immich has no {request.name} of it yet ({said})", kind=kind)
    if reply.status == 404 or said.lower().startswith(_NO_ACCESS):
        return AssetGone(
            f"{request.about}: Immich does not show it: in the locked folder, or deleted for good ({said})"
        )
    return AssetFailed(line, kind="refused")


def _line(request: Request, reply: Reply, said: str) -> str:
    about = f"{request.about}: " if request.about else ""
    return f"{about}{request.name} answered {reply.status} ({said or 'no message from Immich'})"
