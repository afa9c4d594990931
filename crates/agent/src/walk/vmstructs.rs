//! HotSpot's own description of its data structures (`gHotSpotVMStructs` and friends, hotspot
//! runtime/vmStructs.cpp), read once when libjvm has been loaded.

use core::ffi::CStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicI64};

use crate::elf::{Dynamic, Object};

macro_rules! fields {
    ($($id:ident = $($type:literal . $field:literal)|+;)*) => {
        /// Fields that the walker uses: an offset, or for static fields an address.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, clippy::upper_case_acronyms, reason = "the table below says what each one is")]
        pub enum Field { $($id),* }
        const FIELDS: &[(Field, &[(&str, &str)])] = &[$((Field::$id, &[$(($type, $field)),+])),*];
    };
}

fields! {
    // What every walk looks at comes first: two cache lines.
    ConstMethod = "Method"."_constMethod";
    Constants = "ConstMethod"."_constants";
    PoolHolder = "ConstantPool"."_pool_holder";
    KlassName = "Klass"."_name";
    NameIndex = "ConstMethod"."_name_index";
    CompileId = "nmethod"."_compile_id";
    BlobSize = "CodeBlob"."_size";
    CodeHeaps = "CodeCache"."_heaps";
    Anchor = "JavaThread"."_anchor";
    LastSp = "JavaFrameAnchor"."_last_Java_sp";
    LastFp = "JavaFrameAnchor"."_last_Java_fp";
    LastPc = "JavaFrameAnchor"."_last_Java_pc";
    EntryFrameWrapper = ""."frame::entry_frame_call_wrapper_offset";
    WrapperAnchor = "JavaCallWrapper"."_anchor";
    StackBase = "JavaThread"."_stack_base";
    CompilerEnv = "CompilerThread"."_env";
    // The rest is for finding things and for frames seen for the first time.
    OsThread = "JavaThread"."_osthread" | "Thread"."_osthread";
    NextThread = "JavaThread"."_next";
    ThreadId = "OSThread"."_thread_id";
    ThreadsList = "ThreadsSMRSupport"."_java_thread_list";
    ThreadsHead = "Threads"."_thread_list";
    ListLength = "ThreadsList"."_length";
    ListThreads = "ThreadsList"."_threads";
    CallStubReturn = "StubRoutines"."_call_stub_return_address";
    CodeHeapSingle = "CodeCache"."_heap";
    ArrayLength = "GrowableArrayBase"."_len" | "GenericGrowableArray"."_len";
    ArrayData = "GrowableArray<int>"."_data";
    HeapMemory = "CodeHeap"."_memory";
    HeapSegmap = "CodeHeap"."_segmap";
    HeapShift = "CodeHeap"."_log2_segment_size";
    SpaceLow = "VirtualSpace"."_low";
    SpaceHigh = "VirtualSpace"."_high";
    SpaceEnd = "VirtualSpace"."_high_boundary";
    BlockUsed = "HeapBlock::Header"."_used";
    BlobName = "CodeBlob"."_name";
    BlobFrameSize = "CodeBlob"."_frame_size";
    BlobCodeBegin = "CodeBlob"."_code_begin";
    BlobCodeOffset = "CodeBlob"."_code_offset";
    BlobDataOffset = "CodeBlob"."_data_offset";
    BlobMutableData = "CodeBlob"."_mutable_data";
    BlobRelocationSize = "CodeBlob"."_relocation_size";
    CompiledMethod = "nmethod"."_method" | "CompiledMethod"."_method";
    CompileLevel = "nmethod"."_comp_level";
    ScopesDataBegin = "CompiledMethod"."_scopes_data_begin" | "nmethod"."_scopes_data_begin";
    ScopesDataOffset = "nmethod"."_scopes_data_offset";
    ScopesPcsOffset = "nmethod"."_scopes_pcs_offset";
    DependenciesOffset = "nmethod"."_dependencies_offset";
    MetadataOffset = "nmethod"."_metadata_offset";
    ImmutableData = "nmethod"."_immutable_data";
    DeoptBegin = "CompiledMethod"."_deopt_handler_begin" | "nmethod"."_deopt_handler_begin";
    DeoptMhBegin = "CompiledMethod"."_deopt_mh_handler_begin" | "nmethod"."_deopt_mh_handler_begin";
    DeoptOffset = "nmethod"."_deopt_handler_offset" | "nmethod"."_deopt_handler_entry_offset";
    DeoptMhOffset = "nmethod"."_deopt_mh_handler_offset";
    OrigPcOffset = "nmethod"."_orig_pc_offset";
    MethodAccess = "Method"."_access_flags";
    CodeSize = "ConstMethod"."_code_size";
    ConstMethodFlags = "ConstMethod"."_flags" | "ConstMethod"."_flags._flags";
    PoolSource = "ConstantPool"."_source_file_name_index";
    KlassSource = "InstanceKlass"."_source_file_name_index";
    SymbolLength = "Symbol"."_length";
    SymbolLengthAndRefcount = "Symbol"."_length_and_refcount";
    SymbolBody = "Symbol"."_body" | "Symbol"."_body[0]";
    EnvTask = "ciEnv"."_task";
    TaskMethod = "CompileTask"."_method";
    MajorVersion = "Abstract_VM_Version"."_vm_major_version";
    // Sizes of types, and constants; they come from other tables.
    SizeOfConstMethod = "ConstMethod"."sizeof";
    SizeOfConstantPool = "ConstantPool"."sizeof";
    SizeOfHeapBlock = "HeapBlock"."sizeof";
}

const ABSENT: i64 = i64::MIN;
#[repr(align(64))]
struct Values([AtomicI64; FIELDS.len()]);
static VALUES: Values = Values([const { AtomicI64::new(ABSENT) }; FIELDS.len()]);

/// A field's offset (or a static field's address, a type's size, a constant's value), if this JVM
/// has it.
#[inline]
pub fn get(field: Field) -> Option<i64> {
    let value = VALUES.0.get(field as usize)?.load(Relaxed);
    (value != ABSENT).then_some(value)
}

fn set(type_name: &CStr, field_name: &CStr, value: i64) {
    let (t, f) = (type_name.to_bytes(), field_name.to_bytes());
    for (id, names) in FIELDS {
        if names.iter().any(|(a, b)| a.as_bytes() == t && b.as_bytes() == f)
            && let Some(v) = VALUES.0.get(*id as usize)
        {
            v.store(value, Relaxed);
        }
    }
}

static PRESENT: AtomicBool = AtomicBool::new(false);

/// Whether there is a HotSpot in this process.
#[inline]
pub fn present() -> bool {
    PRESENT.load(Acquire)
}

/// Looks at a library that has just been loaded: is it a HotSpot?
pub fn discover(o: &Object, d: &Dynamic) {
    if !PRESENT.load(Relaxed) && read(o, d) {
        PRESENT.store(true, Release);
    }
}

/// Reads the tables of a libjvm that has just been loaded. False if this is not one.
fn read(o: &Object, d: &Dynamic) -> bool {
    if o.lookup(d, c"gHotSpotVMStructs").is_none() {
        return false;
    }
    let word = |name: &CStr| o.pages.peek::<u64>(o.lookup(d, name)?);
    let text = |at: u64| -> Option<&CStr> {
        let text = o.pages.peek::<u64>(at).filter(|&text| text != 0)?;
        // SAFETY: HotSpot exports these for debuggers: literals of the loaded, relocated library.
        unsafe { o.pages.text(text) }
    };
    for field in &VALUES.0 {
        field.store(ABSENT, Relaxed);
    }
    let structs = || -> Option<()> {
        let (table, stride) = (word(c"gHotSpotVMStructs")?, word(c"gHotSpotVMStructEntryArrayStride")?);
        let type_name = word(c"gHotSpotVMStructEntryTypeNameOffset")?;
        let field_name = word(c"gHotSpotVMStructEntryFieldNameOffset")?;
        let is_static = word(c"gHotSpotVMStructEntryIsStaticOffset")?;
        let offset = word(c"gHotSpotVMStructEntryOffsetOffset")?;
        let address = word(c"gHotSpotVMStructEntryAddressOffset")?;
        for i in 0..20_000 {
            let entry = table.wrapping_add(i * stride);
            let (Some(t), Some(f)) = (text(entry + type_name), text(entry + field_name)) else { break };
            let fixed = o.pages.peek::<i32>(entry + is_static)? != 0;
            set(t, f, o.pages.peek(entry + if fixed { address } else { offset })?);
        }
        let (table, stride) = (word(c"gHotSpotVMTypes")?, word(c"gHotSpotVMTypeEntryArrayStride")?);
        let (name, size) =
            (word(c"gHotSpotVMTypeEntryTypeNameOffset")?, word(c"gHotSpotVMTypeEntrySizeOffset")?);
        for i in 0..20_000 {
            let entry = table.wrapping_add(i * stride);
            let Some(t) = text(entry + name) else { break };
            set(t, c"sizeof", o.pages.peek(entry + size)?);
        }
        let (table, stride) =
            (word(c"gHotSpotVMIntConstants")?, word(c"gHotSpotVMIntConstantEntryArrayStride")?);
        let name = word(c"gHotSpotVMIntConstantEntryNameOffset")?;
        let value = word(c"gHotSpotVMIntConstantEntryValueOffset")?;
        for i in 0..20_000 {
            let entry = table.wrapping_add(i * stride);
            let Some(n) = text(entry + name) else { break };
            set(c"", n, i64::from(o.pages.peek::<i32>(entry + value)?));
        }
        Some(())
    };
    structs().is_some()
}
