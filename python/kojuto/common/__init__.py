"""What several commands share, each thing in a module named after it."""
