"""What the servers share: listening, relaying, logs, signals, metrics."""
