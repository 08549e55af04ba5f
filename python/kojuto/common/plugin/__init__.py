"""What the plugins share: following logs, positions, metrics."""
