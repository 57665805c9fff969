"""What filters read of all items: per field, an array of codes into the field's distinct values."""
