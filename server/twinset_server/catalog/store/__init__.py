"""The truth: tables of SQLite, files of pictures, and the log of changes between processes."""
