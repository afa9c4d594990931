//! What can be wrong with a file.

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not of this format.
    #[error("this is no {format}: {reason}")]
    NotThis {
        /// The format it was read as.
        format: &'static str,
        /// What it lacks.
        reason: String,
    },
    /// It is of this format, and wrong.
    #[error("this {format} is damaged at byte {at}: {reason}")]
    Damaged {
        /// The format it was read as.
        format: &'static str,
        /// Offset of the damage in the unwrapped file.
        at: u64,
        /// What is wrong there.
        reason: String,
    },
    /// It would take more memory than any honest file.
    #[error("this {format} is refused: {reason}")]
    TooLarge {
        /// The format it was read as.
        format: &'static str,
        /// Which bound it breaks.
        reason: String,
    },
    /// Of a version, or with a feature, that is not known here.
    #[error("this {format} can't be read: {reason}")]
    Unsupported {
        /// The format it was read as.
        format: &'static str,
        /// What is not known.
        reason: String,
    },
}

/// Where the readable part of a file ends, when that is before its end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Cut {
    /// Offset in the unwrapped file of the first byte that could not be used.
    pub at: u64,
    /// What was being read there.
    pub reading: String,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the file ends, or is damaged, at byte {} in {}; what comes before is used",
            self.at, self.reading
        )
    }
}
