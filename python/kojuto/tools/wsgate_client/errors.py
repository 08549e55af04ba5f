"""Why there is no connection to a backend."""

from __future__ import annotations


class OpenError(Exception):
    """The backend cannot be reached, or does not agree; the text holds nothing secret."""


class RetryableError(OpenError):
    """Another attempt may help: nothing was sent yet."""
