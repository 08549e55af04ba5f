"""Tests, one file per part or command."""
