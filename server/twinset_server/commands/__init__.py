"""The operators' commands of `twinset-server`, a module each.

All go the same way: to the server that holds the folder, by `AdminService`, or, where nobody does, to one that the
command itself opens on a private socket for as long as it works (`session`). All show their operation alike
(`following`).
"""
