"""``kojuto report``: which endpoints of access logs cost the most, and how they fare."""
