"""What a command says of a failure of its own."""

from __future__ import annotations

import importlib.metadata

import pytest

from kojuto.common import failures


@pytest.mark.parametrize(
    ("error", "text", "hint"),
    [
        (
            ImportError("no _ssl", name="ssl"),
            "this Python has no ssl: no _ssl",
            "take a Python that was built with it",
        ),
        (
            ImportError("cannot import name 'x'", name="kojuto.common.x"),
            "the installation is broken: cannot import name 'x'",
            "pip install --force-reinstall kojuto",
        ),
        (
            ImportError("gone", name="google.auth.transport"),
            "the package google-auth is missing or broken: gone",
            "pip install 'google-auth>=2.29,<3'",
        ),
        (
            ImportError("gone", name="pymysql"),
            "the package pymysql is missing or broken: gone",
            "pip install 'pymysql>=1.1'",
        ),
        (
            ImportError("gone", name="urllib3.util"),
            "the package urllib3 is missing or broken: gone",
            "pip install urllib3",
        ),
        (
            ImportError("gone", name="fsspec"),
            "the package fsspec is missing or broken: gone",
            "pip install fsspec",
        ),
        (
            ImportError("what"),
            "the installation is broken: what",
            "pip install --force-reinstall kojuto",
        ),
    ],
    ids=["standard", "own", "renamed", "other", "of another", "extra", "nameless"],
)
def test_a_module_that_cannot_be_imported_is_named_with_what_brings_it(
    error: ImportError, text: str, hint: str
) -> None:
    assert failures.explain(error, None) == (1, text, hint)


def test_a_package_is_named_where_the_installation_has_no_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def requires(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    explained = failures.explain(ImportError("gone", name="pymysql"), None)
    assert explained[2] == "pip install pymysql"
