"""The processes of one server: a supervisor, workers that answer, and a builder of the index.

`serving` is what the supervisor consists of: a port held for the workers (`reservation`), the catalogue's folder held
for all (`keeper`), one Triton, and the children (`supervisor`, each a `child`). A child is told what to do by an
`order` on its standard input and ends when that ends (`parent`); `worker` and `builder` are the two kinds.
"""
