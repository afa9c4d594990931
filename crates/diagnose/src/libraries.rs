//! Well-known libraries with native memory behind Java objects, and what gives it back. The only
//! place where names of programs are known; a stack is matched, never a command line.

use crate::sites::is_plumbing;
use offheap_model::{Frame, FrameKind};

/// A library and its advice.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    /// What people call it.
    pub name: &'static str,
    /// Prefixes of its Java classes.
    java: &'static [&'static str],
    /// Parts of its native libraries' file names; or begin and end, with `*` between.
    native: &'static [&'static str],
    /// What gives the memory back.
    pub advice: &'static str,
    /// True for what only calls other people's code: it is to answer for what its own functions
    /// allocate, and not for what they call.
    bridge: bool,
}

/// JNA. Unless told where its own library is, it unpacks it under a name of
/// `File.createTempFile("jna", null)` (`com.sun.jna.Native`).
pub(crate) const JNA: Library = Library {
    name: "JNA",
    java: &["com.sun.jna."],
    native: &["libjnidispatch", "jna*.tmp"],
    advice: "close() com.sun.jna.Memory, or keep it reachable no longer than needed",
    bridge: true,
};

/// The table. The more specific entries come first: Netty's TLS before Netty.
pub const LIBRARIES: &[Library] = &[
    Library {
        name: "RocksDB",
        java: &["org.rocksdb."],
        native: &["librocksdbjni"],
        advice: "close() every RocksDB object (RocksIterator, WriteBatch, ReadOptions, Options, ColumnFamilyHandle): it has no \
                 finalizer; share one Cache and one WriteBufferManager between stores",
        bridge: false,
    },
    Library {
        name: "zstd-jni",
        java: &["com.github.luben.zstd."],
        native: &["libzstd-jni"],
        advice: "close() every ZstdInputStream and ZstdOutputStream (the NoFinalizer variants have nobody else to do it), \
                 ZstdCompressCtx and ZstdDict",
        bridge: false,
    },
    Library {
        name: "java.util.zip",
        java: &["java.util.zip."],
        native: &["libzip.so"],
        advice: "end() every Inflater and Deflater, close() GZIP and ZIP streams, also on the error path; with an Inflater of \
                 your own, closing the stream does not end it",
        bridge: false,
    },
    Library {
        name: "ImageIO",
        java: &["javax.imageio.", "com.sun.imageio."],
        native: &["libjavajpeg"],
        advice: "dispose() every ImageReader and ImageWriter, close() its stream",
        bridge: false,
    },
    Library {
        name: "Java 2D colour management",
        java: &["sun.java2d.cmm."],
        native: &["liblcms"],
        advice: "keep and reuse ColorConvertOp and ICC profiles instead of making them for each image",
        bridge: false,
    },
    Library {
        name: "netty-tcnative (OpenSSL)",
        java: &["io.netty.internal.tcnative.", "io.netty.handler.ssl.ReferenceCountedOpenSsl"],
        native: &["libnetty_tcnative"],
        advice: "release() SslContext and SslEngine (ReferenceCountUtil.release), or SslProvider.JDK",
        bridge: false,
    },
    Library {
        name: "Netty",
        java: &["io.netty."],
        native: &["libnetty_transport"],
        advice: "release() every ByteBuf exactly once; -Dio.netty.leakDetection.level=paranoid finds who forgets",
        bridge: false,
    },
    Library {
        name: "Arrow",
        java: &["org.apache.arrow."],
        native: &["libarrow"],
        advice: "close() every vector, VectorSchemaRoot and ArrowReader, then the allocator: BufferAllocator.close() throws if \
                 something is left, and toVerboseString() says what",
        bridge: false,
    },
    Library {
        name: "snappy-java",
        java: &["org.xerial.snappy."],
        native: &["libsnappyjava"],
        advice: "close() Snappy streams",
        bridge: false,
    },
    Library {
        name: "Brotli4j",
        java: &["com.aayushatharva.brotli4j."],
        native: &["libbrotli"],
        advice: "close() encoders and decoders",
        bridge: false,
    },
    Library {
        name: "ONNX Runtime",
        java: &["ai.onnxruntime."],
        native: &["libonnxruntime"],
        advice: "close() OnnxTensor and OrtSession.Result after each run (try-with-resources)",
        bridge: false,
    },
    Library {
        name: "TensorFlow",
        java: &["org.tensorflow."],
        native: &["libtensorflow", "libjnitensorflow"],
        advice: "close() Tensors, Results, Sessions and Graphs; EagerSession scopes or try-with-resources",
        bridge: false,
    },
    Library {
        name: "JavaCPP (OpenCV, FFmpeg, DL4J…)",
        java: &["org.bytedeco.", "org.nd4j."],
        native: &["libjnijavacpp", "libnd4j"],
        advice: "close() Pointers, or a PointerScope around the work; -Dorg.bytedeco.javacpp.maxPhysicalBytes bounds it",
        bridge: false,
    },
    Library {
        name: "OpenCV",
        java: &["org.opencv."],
        native: &["libopencv_java"],
        advice: "release() every Mat",
        bridge: false,
    },
    Library {
        name: "SQLite JDBC",
        java: &["org.sqlite."],
        native: &["libsqlitejdbc"],
        advice: "close() ResultSets, Statements and Connections",
        bridge: false,
    },
    Library {
        name: "DuckDB",
        java: &["org.duckdb."],
        native: &["libduckdb_java"],
        advice: "close() ResultSets, Statements and Connections; SET memory_limit bounds its cache",
        bridge: false,
    },
    JNA,
    Library {
        name: "jep",
        java: &["jep."],
        native: &["libjep.so", "jep.cpython"],
        advice: "close() every Interpreter on the thread that made it, and PyObjects that are not needed any more",
        bridge: true,
    },
    Library {
        name: "JPype",
        java: &["org.jpype."],
        native: &["_jpype."],
        advice: "del Python's references to Java objects; jpype.java.lang.System.gc() lets both collectors see them",
        bridge: true,
    },
    Library {
        name: "Kerberos and SPNEGO",
        java: &["sun.security.jgss.", "org.ietf.jgss."],
        native: &["libj2gss", "libgssapi"],
        advice: "dispose() GSSContext and GSSCredential; newer JDK updates free more by themselves",
        bridge: false,
    },
    Library {
        name: "XGBoost",
        java: &["ml.dmlc.xgboost4j."],
        native: &["libxgboost4j"],
        advice: "dispose() Booster and DMatrix",
        bridge: false,
    },
];

/// The library that a stack, innermost frame first, belongs to: by its native library where one is
/// named, else by the innermost Java class that is in the table.
pub fn library_of(frames: &[Frame]) -> Option<&'static Library> {
    let allocator = frames.iter().position(|frame| !is_plumbing(frame));
    frames.iter().enumerate().find_map(|(index, frame)| {
        LIBRARIES.iter().find(|library| {
            let called = Some(index) == allocator || !library.bridge;
            called && (library.has_file(frame) || library.has_class(frame))
        })
    })
}

/// True for a Java method of a library in the table, a bridge's too.
pub(crate) fn is_library_method(frame: &Frame) -> bool {
    LIBRARIES.iter().any(|library| library.has_class(frame))
}

impl Library {
    pub(crate) fn has_file(&self, frame: &Frame) -> bool {
        let file = frame.file_name();
        self.native.iter().any(|part| match part.split_once('*') {
            Some((begin, end)) => file.starts_with(begin) && file.ends_with(end),
            None => file.contains(part),
        })
    }

    fn has_class(&self, frame: &Frame) -> bool {
        frame.kind == FrameKind::Java && self.java.iter().any(|prefix| frame.name.starts_with(prefix))
    }
}
