//! Well-known libraries with native memory behind Java objects, and what gives it back. The only place where names of
//! programs are known; a stack is matched, never a command line.

use offheap_model::Frame;

/// A library and its advice.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    /// What people call it.
    pub name: &'static str,
    /// Prefixes of its Java classes.
    java: &'static [&'static str],
    /// Parts of its native libraries' file names.
    native: &'static [&'static str],
    /// What gives the memory back.
    pub advice: &'static str,
}

/// The table. The more specific entries come first: Netty's TLS before Netty.
pub const LIBRARIES: &[Library] = &[
    Library {
        name: "RocksDB",
        java: &["org.rocksdb."],
        native: &["librocksdbjni"],
        advice: "close() every RocksDB object (RocksIterator, WriteBatch, ReadOptions, Options, ColumnFamilyHandle): it has no \
                 finalizer; share one Cache and one WriteBufferManager between stores",
    },
    Library {
        name: "zstd-jni",
        java: &["com.github.luben.zstd."],
        native: &["libzstd-jni"],
        advice: "close() every ZstdInputStream and ZstdOutputStream (the NoFinalizer variants have nobody else to do it), \
                 ZstdCompressCtx and ZstdDict",
    },
    Library {
        name: "java.util.zip",
        java: &["java.util.zip."],
        native: &["libzip.so"],
        advice: "end() every Inflater and Deflater, close() GZIP and ZIP streams, also on the error path; with an Inflater of \
                 your own, closing the stream does not end it",
    },
    Library {
        name: "ImageIO",
        java: &["javax.imageio.", "com.sun.imageio."],
        native: &["libjavajpeg"],
        advice: "dispose() every ImageReader and ImageWriter, close() its stream",
    },
    Library {
        name: "Java 2D colour management",
        java: &["sun.java2d.cmm."],
        native: &["liblcms"],
        advice: "keep and reuse ColorConvertOp and ICC profiles instead of making them for each image",
    },
    Library {
        name: "netty-tcnative (OpenSSL)",
        java: &["io.netty.internal.tcnative.", "io.netty.handler.ssl.ReferenceCountedOpenSsl"],
        native: &["libnetty_tcnative"],
        advice: "release() SslContext and SslEngine (ReferenceCountUtil.release), or SslProvider.JDK",
    },
    Library {
        name: "Netty",
        java: &["io.netty."],
        native: &["libnetty_transport"],
        advice: "release() every ByteBuf exactly once; -Dio.netty.leakDetection.level=paranoid finds who forgets",
    },
    Library {
        name: "Arrow",
        java: &["org.apache.arrow."],
        native: &["libarrow"],
        advice: "close() every vector, VectorSchemaRoot and ArrowReader, then the allocator: BufferAllocator.close() throws if \
                 something is left, and toVerboseString() says what",
    },
    Library {
        name: "snappy-java",
        java: &["org.xerial.snappy."],
        native: &["libsnappyjava"],
        advice: "close() Snappy streams",
    },
    Library {
        name: "Brotli4j",
        java: &["com.aayushatharva.brotli4j."],
        native: &["libbrotli"],
        advice: "close() encoders and decoders",
    },
    Library {
        name: "ONNX Runtime",
        java: &["ai.onnxruntime."],
        native: &["libonnxruntime"],
        advice: "close() OnnxTensor and OrtSession.Result after each run (try-with-resources)",
    },
    Library {
        name: "TensorFlow",
        java: &["org.tensorflow."],
        native: &["libtensorflow", "libjnitensorflow"],
        advice: "close() Tensors, Results, Sessions and Graphs; EagerSession scopes or try-with-resources",
    },
    Library {
        name: "JavaCPP (OpenCV, FFmpeg, DL4J…)",
        java: &["org.bytedeco.", "org.nd4j."],
        native: &["libjnijavacpp", "libnd4j"],
        advice: "close() Pointers, or a PointerScope around the work; -Dorg.bytedeco.javacpp.maxPhysicalBytes bounds it",
    },
    Library {
        name: "OpenCV",
        java: &["org.opencv."],
        native: &["libopencv_java"],
        advice: "release() every Mat",
    },
    Library {
        name: "SQLite JDBC",
        java: &["org.sqlite."],
        native: &["libsqlitejdbc"],
        advice: "close() ResultSets, Statements and Connections",
    },
    Library {
        name: "DuckDB",
        java: &["org.duckdb."],
        native: &["libduckdb_java"],
        advice: "close() ResultSets, Statements and Connections; SET memory_limit bounds its cache",
    },
    Library {
        name: "JNA",
        java: &["com.sun.jna."],
        native: &["libjnidispatch"],
        advice: "close() com.sun.jna.Memory, or keep it reachable no longer than needed",
    },
    Library {
        name: "Kerberos and SPNEGO",
        java: &["sun.security.jgss.", "org.ietf.jgss."],
        native: &["libj2gss", "libgssapi"],
        advice: "dispose() GSSContext and GSSCredential; newer JDK updates free more by themselves",
    },
    Library {
        name: "XGBoost",
        java: &["ml.dmlc.xgboost4j."],
        native: &["libxgboost4j"],
        advice: "dispose() Booster and DMatrix",
    },
];

/// The library that a stack, innermost frame first, belongs to: by its native library where one is named, else by the
/// innermost Java class that is in the table.
pub fn library_of(frames: &[Frame]) -> Option<&'static Library> {
    frames.iter().find_map(|frame| {
        LIBRARIES.iter().find(|library| {
            let module = frame.module.as_deref().unwrap_or_default();
            let file = module.rsplit('/').next().unwrap_or_default();
            library.native.iter().any(|part| file.contains(part))
                || frame.kind == offheap_model::FrameKind::Java
                    && library.java.iter().any(|prefix| frame.name.starts_with(prefix))
        })
    })
}
