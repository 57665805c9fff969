"""Whether items go together: probabilities of pairs, and sets that are completed."""
