//! Where the programs are built: sources in, classes, libraries and executables out, in a cache keyed by the sources.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

use crate::{Error, Jdk, jars};

/// How the names of scratch directories start.
const SCRATCH: &str = "run-";

/// The programs, built. What depends on the jars is built when it is first needed.
#[derive(Debug)]
pub struct Workshop {
    cache: PathBuf,
    build: PathBuf,
    compiler: Jdk,
    with_jars: OnceLock<Result<OsString, String>>,
}

/// The root of offheap's workspace.
pub(crate) fn workspace_root() -> PathBuf {
    let here = sources();
    here.parent().unwrap_or(&here).to_path_buf()
}

/// This folder: java/, native/ and python/ are in it.
pub(crate) fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

impl Workshop {
    /// Builds the programs that need nothing but a JDK and a C compiler into target/offheap-tools/scenarios, unless
    /// the same sources were built there before.
    pub fn open() -> Result<Workshop, Error> {
        let cache = workspace_root().join("target/offheap-tools/scenarios");
        fs::create_dir_all(&cache).map_err(Error::at(&cache))?;
        let compiler = Jdk::compiler()?;
        let build = cache.join(format!("build-{:016x}", fingerprint(&compiler)?));
        remove_abandoned(&cache);
        let workshop = Workshop { cache, build, compiler, with_jars: OnceLock::new() };
        workshop.once("base", |dir| {
            workshop.compile_java("java/jdk", &OsString::new(), dir)?;
            workshop.compile_native(dir)
        })?;
        Ok(workshop)
    }

    /// Fetches pyspark's jars and builds the programs that need them, which otherwise happens when one is started.
    pub fn fetch_jars(&self) -> Result<(), Error> {
        self.class_path_with_jars().map(drop)
    }

    /// The class path of the programs that need the JDK alone.
    pub(crate) fn class_path(&self) -> OsString {
        self.build.join("base").into()
    }

    /// The class path of the programs that need pyspark's jars; fetches those and builds the programs.
    pub(crate) fn class_path_with_jars(&self) -> Result<OsString, Error> {
        self.with_jars.get_or_init(|| self.build_with_jars().map_err(|e| e.to_string())).clone().map_err(
            |reason| Error::Build { tool: "the build".into(), what: "java/jars".into(), output: reason },
        )
    }

    /// The directory of the JNI libraries and the native programs.
    pub(crate) fn native(&self) -> PathBuf {
        self.build.join("base")
    }

    /// A new empty directory that is removed when it is dropped; its name carries the pid of this process, so that
    /// [`Workshop::open`] can remove those whose process was killed.
    pub(crate) fn scratch(&self) -> Result<tempfile::TempDir, Error> {
        tempfile::Builder::new()
            .prefix(&format!("{SCRATCH}{}-", process::id()))
            .tempdir_in(&self.cache)
            .map_err(Error::at(&self.cache))
    }

    fn build_with_jars(&self) -> Result<OsString, Error> {
        let jars = {
            let _lock = lock(&self.cache.join("jars.lock"))?;
            jars::fetch(&self.cache)?
        };
        let mut path = self.class_path();
        for jar in jars {
            path.push(":");
            path.push(jar);
        }
        self.once("jars", |dir| self.compile_java("java/jars", &path, dir))?;
        path.push(":");
        path.push(self.build.join("jars"));
        Ok(path)
    }

    /// Runs `make` on a directory that becomes `part` of the build when it succeeds; other processes wait.
    fn once(&self, part: &str, make: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
        let done = self.build.join(part);
        let _lock = lock(&self.build.with_extension("lock"))?;
        if done.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.build).map_err(Error::at(&self.build))?;
        let work = tempfile::tempdir_in(&self.build).map_err(Error::at(&self.build))?;
        make(work.path())?;
        fs::rename(work.path(), &done).map_err(Error::at(&done))
    }

    fn compile_java(&self, root: &str, class_path: &OsString, out: &Path) -> Result<(), Error> {
        let files = files_below(&sources().join(root), "java")?;
        // sun.misc.Unsafe is what some programs are about: javac's warning of it cannot be suppressed in the source.
        let mut javac = Command::new(self.compiler.tool("javac"));
        javac.args(["--release", "11", "-g", "-nowarn", "-encoding", "UTF-8", "-XDignore.symbol.file", "-d"]);
        run(javac.arg(out).arg("-cp").arg(class_path).args(files), root)
    }

    /// native/jni_X.c becomes libjni_X.so, any other native/X.c the program X; `.cpp` likewise.
    fn compile_native(&self, out: &Path) -> Result<(), Error> {
        let include = self.compiler.home.join("include");
        for (ending, compiler, standard) in [("c", "gcc", "-std=gnu11"), ("cpp", "g++", "-std=c++20")] {
            for file in files_below(&sources().join("native"), ending)? {
                let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                // As libraries are shipped: optimised, without frame pointers; -g changes no code.
                let mut command = Command::new(compiler);
                command.args([standard, "-O2", "-g", "-Wall", "-pthread"]).arg(&file);
                if stem.starts_with("jni_") {
                    command
                        .args(["-shared", "-fPIC", "-I"])
                        .arg(&include)
                        .arg("-I")
                        .arg(include.join("linux"));
                    command.arg("-o").arg(out.join(format!("lib{stem}.so")));
                } else {
                    command.arg("-o").arg(out.join(stem));
                }
                run(&mut command, &file.display().to_string())?;
            }
        }
        Ok(())
    }
}

/// Removes the scratch directories of processes that are gone. A failure leaves files behind and harms nothing.
fn remove_abandoned(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(SCRATCH).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The standard output of a command that must succeed; its standard error otherwise.
pub(crate) fn output_of(command: &mut Command) -> Result<String, String> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{tool}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{tool}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

fn run(command: &mut Command, what: &str) -> Result<(), Error> {
    let tool = command.get_program().to_string_lossy().into_owned();
    output_of(command).map(drop).map_err(|output| Error::Build { tool, what: what.into(), output })
}

/// Waits for the lock that other processes may hold on `path`; it is held until the file is dropped.
fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(Error::at(path))?;
    file.lock().map_err(Error::at(path))?;
    Ok(file)
}

/// What the build depends on: the sources' names and texts, the compiler, and how this file calls it.
fn fingerprint(compiler: &Jdk) -> Result<u64, Error> {
    let mut hasher = DefaultHasher::new();
    compiler.version.hash(&mut hasher);
    include_str!("workshop.rs").hash(&mut hasher);
    for (dir, ending) in [("java", "java"), ("native", "c"), ("native", "cpp"), ("native", "h")] {
        for file in files_below(&sources().join(dir), ending)? {
            file.hash(&mut hasher);
            fs::read(&file).map_err(Error::at(&file))?.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

/// The files below `dir` with that ending, sorted.
fn files_below(dir: &Path, ending: &str) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::at(dir))? {
        let path = entry.map_err(Error::at(dir))?.path();
        if path.is_dir() {
            files.extend(files_below(&path, ending)?);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
