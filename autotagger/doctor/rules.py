"""A look at what a run makes of the settings before its first picture: the policy, and the port that it serves."""

import socket

from autotagger.errors import Fatal
from autotagger.pipeline.decider import TagDecider
from autotagger.pipeline.writer.rating_actions import actions_of
from autotagger.policy.naming import name_labels
from autotagger.settings import ServiceSettings, Settings
from autotagger.tagger.model import Model


def look_at_policy(settings: Settings, model: Model | None) -> Fatal | None:
    """Why a run could not decide tags, None where it could. Without a `model` only what needs no labels is tried:
    the file of second names, the templates."""
    try:
        if model is None:
            name_labels((), settings.policy, settings.marker)
        else:
            actions_of(TagDecider.of_model(model, settings).policy, settings.policy.rating_action)
    except Fatal as error:
        return error
    return None


def look_at_port(service: ServiceSettings) -> str | None:
    """Why a run could not listen where the settings say, None where it could."""
    if not service.listen_port:
        return None
    try:
        found = socket.getaddrinfo(
            service.listen_host, service.listen_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a run does
                one.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return None
