"""The category head: what an item is, and an embedding in which items of one category lie together.

`published` is a feature recommender for product photographs as its authors described it, `metric_learning` what does
better; both are trained by `trainee` under `training.loop`, and `selection` takes the better of them by validation.
`tuning` trains the last blocks of a backbone along with the head.
"""
