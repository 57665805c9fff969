"""Which model fills the spaces of pictures: how another is let serve, and how each process embeds with the right one.

The model that serves is a row of the store, which every process reads together with the vectors. So what a search sees
and what a picture is embedded with are of one model, and change at once everywhere.
"""
