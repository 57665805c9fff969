"""Interaction models: networks that rank a few candidates again, by the factors of a user and an item."""
