"""What `make release-check` runs and `make test` does not: it takes minutes."""
