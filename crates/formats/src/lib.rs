//! Foreign file formats in and out: bytes in, values out. No I/O.
