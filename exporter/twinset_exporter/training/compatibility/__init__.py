"""The compatibility head: which items go together, as two vectors of each item.

After McAuley, Personalized Machine Learning, ch. 9.

`whitening` shortens the features, `relation` holds the true pairs, `sampling` draws batches of them and of others, and
`network` with `objective` learns the two sides; `calibration` turns scores into probabilities, `keras_head` writes the
head that serves. `published` is the model as the book trains it.
"""
