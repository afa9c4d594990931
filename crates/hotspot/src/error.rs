//! Why a process can't be looked at as a HotSpot JVM.

/// Why a process can't be looked at as a HotSpot JVM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No libjvm is mapped.
    #[error("process {pid} is not a JVM: it has no libjvm mapped")]
    NotJvm {
        /// Its pid.
        pid: i32,
    },
    /// An OpenJ9 JVM.
    #[error(
        "process {pid} runs Eclipse OpenJ9, which has no vmStructs: its maps, its C heap and its threads can be shown, \
         the parts of its Java heap can't"
    )]
    OpenJ9 {
        /// Its pid.
        pid: i32,
    },
    /// An executable made by GraalVM's native-image.
    #[error(
        "process {pid} is a GraalVM native image, which has no vmStructs: its maps, its C heap and its threads can be \
         shown, the parts of its Java heap can't"
    )]
    NativeImage {
        /// Its pid.
        pid: i32,
    },
    /// libjvm is mapped but its file can't be opened.
    #[error(
        "cannot open {path} as process {pid} has it mapped{}",
        if *.deleted { ": it was replaced or deleted on disk, so only root (CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE) \
                        can open it; run as root, or restart the JVM" } else { "; run as root or as the process's user" }
    )]
    LibjvmUnreadable {
        /// The pid.
        pid: i32,
        /// libjvm's path as the kernel shows it.
        path: String,
        /// True where the path no longer names the mapped file.
        deleted: bool,
    },
    /// libjvm has no vmStructs, or they make no sense.
    #[error("the vmStructs of {path} in process {pid} can't be used: {reason}")]
    NoVmStructs {
        /// The pid.
        pid: i32,
        /// libjvm's path as the kernel shows it.
        path: String,
        /// What is wrong with them.
        reason: String,
    },
}
