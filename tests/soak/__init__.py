"""What `make soak` runs: every server and pipe side by side, for an hour, while things go wrong."""
