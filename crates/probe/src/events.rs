//! Probes of the kernel: a function's returns in one thread, with registers and stack.

use crate::arch::{self, Registers};
use perf_event::data::Record;
use perf_event::events::{Event, EventData};
use perf_event::{Builder, SampleFlag, Sampler};
use perf_event_open_sys::bindings::perf_event_attr;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Which event source uretprobes are (Documentation/ABI/testing/sysfs-bus-event_source-devices).
const SOURCE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// `config` of a probe at the return (`format/retprobe` beside it: bit 0).
const AT_RETURN: u64 = 1;

/// Bytes of the stack that come with a sample: a multiple of 8, below 64 KiB.
const STACK: u32 = 8 << 10;
/// Bytes of the ring buffer of a probe: 120 samples, a hundred thousand a second if it is read each millisecond.
const BUFFER: usize = 1 << 20;
/// A record has at least this many bytes, so a buffer holds no more records than this says.
const SMALLEST: usize = 16;

/// A return from a probed function.
pub struct Return {
    /// When, nanoseconds of the kernel's clock for samples.
    pub time_ns: u64,
    /// The registers then.
    pub registers: Registers,
    /// The stack from its pointer up.
    pub stack: Vec<u8>,
}

/// The returns of the function that begins at `offset` of a file. perf-event2 has a type for these, which its builder does not
/// take.
struct Returns {
    source: u32,
    file: CString,
    offset: u64,
}

impl Event for Returns {
    fn update_attrs(self, _: &mut perf_event_attr) {
        // Never called: the path must live until the event is opened.
    }

    fn update_attrs_with_data(self, attr: &mut perf_event_attr) -> Option<Arc<dyn EventData>> {
        attr.type_ = self.source;
        attr.config = AT_RETURN;
        attr.uprobe_path = self.file.as_ptr() as u64;
        attr.probe_offset = self.offset;
        // The string's bytes stay where they are.
        Some(Arc::new(self.file))
    }
}

/// A probe at the returns of one function in one thread. It is gone when this is dropped.
pub struct Probe(Sampler);

impl Probe {
    /// Puts it there: `file` is the library, `offset` where the function begins in that file.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(tid: i32, file: &Path, offset: u64) -> io::Result<Probe> {
        let source = std::fs::read_to_string(SOURCE)?.trim().parse().map_err(io::Error::other)?;
        let file = CString::new(file.as_os_str().as_bytes())?;
        let mut builder = Builder::new(Returns { source, file, offset });
        builder
            .observe_pid(tid)
            .any_cpu()
            .enabled(true)
            .sample_period(1)
            .sample(SampleFlag::TIME)
            .sample_regs_user(arch::REGISTERS)
            .sample(SampleFlag::REGS_USER)
            .sample_stack_user(STACK)
            .sample(SampleFlag::STACK_USER);
        Ok(Probe(builder.build()?.sampled(BUFFER)?))
    }

    /// Calls `each` with the returns since the last look, and no more often than fits into the buffer. Returns how many the
    /// kernel had no room for.
    pub fn drain(&mut self, mut each: impl FnMut(Return)) -> u64 {
        let mut lost = 0;
        for _ in 0..BUFFER / SMALLEST {
            let Some(record) = self.0.next_record() else { break };
            match record.parse_record() {
                Ok(Record::Sample(sample)) => {
                    let registers = sample.regs_user().and_then(|user| Registers::of(&user.regs));
                    if let (Some(time_ns), Some(registers), Some(stack)) =
                        (sample.time(), registers, sample.stack_user())
                    {
                        each(Return { time_ns, registers, stack: stack.to_vec() });
                    }
                }
                Ok(Record::Lost(more)) => lost += more.lost,
                _ => {}
            }
        }
        lost
    }
}
