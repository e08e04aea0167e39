"""The people's door: commands, a page, one call."""
