"""What `kojuto report` must make endpoints of: a table, its logs, and the rules they follow."""
