"""autotagger: anime tags for an Immich library."""

__version__ = "0.1.0"
