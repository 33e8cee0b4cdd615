"""A core file holds all that a process knew, the API key too."""

import resource


def leave_no_core_file() -> None:
    """Let no core file be written of this process and of those that it starts; systemd-coredump honours it too."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
