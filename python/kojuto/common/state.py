"""Where the plugins keep what they must remember until the next run."""

from __future__ import annotations

import os


def work_directory() -> str:
    """``MACKEREL_PLUGIN_WORKDIR``, else ``TMPDIR``, else ``/tmp``; empty values count as unset."""
    return os.environ.get("MACKEREL_PLUGIN_WORKDIR") or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108


def state_path(name: str) -> str:
    """The path of a state file; a slash in `name` cannot lead out of the work directory."""
    return os.path.join(work_directory(), name.replace("/", "_").replace("\0", "_"))
