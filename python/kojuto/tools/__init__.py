"""One room per command, named as the command is (underscores for dashes)."""
