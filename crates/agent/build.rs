//! Linker options of the agent.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Hooks and a thread-specific destructor may be called at any later time: dlclose must never
    // unmap the library.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-z,nodelete");
    // The compiler may merge a hook with the exported function of the same body, `malloc` say.
    // Looked up by name that would be libc's.
    println!("cargo:rustc-link-arg-cdylib=-Wl,-Bsymbolic");
}
