//! A CPython interpreter seen from outside.
