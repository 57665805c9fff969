"""Filters: which items a search may answer with, by their category and their attributes."""
