"""What a check compares, part by part."""
