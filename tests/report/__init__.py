"""A made report for the tests of `kojuto report` that need no log."""
