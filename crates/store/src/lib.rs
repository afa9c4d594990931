//! Recordings: snapshots over time in one SQLite file.
