"""Schema revisions, oldest first. Never change a released revision; add a new one instead."""
