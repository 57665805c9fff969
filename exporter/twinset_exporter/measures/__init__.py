"""How good answers are: figures of rankings, neighbours, pairs and probabilities."""
