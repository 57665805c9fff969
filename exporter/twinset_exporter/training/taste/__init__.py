"""Taste: which items a user will like, from what users did. One vector a user and one an item, compared by product."""
