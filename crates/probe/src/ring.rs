//! What breakpoints and page faults have in common: events of which the kernel takes samples, each
//! with registers and stack, into a ring buffer (`perf_event_open(2)`).

use crate::arch::{self, Registers};
use perf_event::data::{Record, Sample};
use perf_event::{Builder, SampleFlag, Sampler};
use std::io;
use std::os::fd::AsRawFd;

/// Bytes of the stack that come with a sample: a multiple of 8, below 64 KiB.
const STACK: u32 = 8 << 10;
/// Bytes of the buffer: thirty samples, thirty thousand a second if it is read each millisecond.
/// What does not fit is counted all the same.
const BUFFER: usize = 256 << 10;
/// A record has at least this many bytes, so a buffer holds no more records than this says.
const SMALLEST: usize = 16;

/// An event with its buffer. It is gone when this is dropped.
pub struct Ring(Sampler);

impl Ring {
    /// Of the event that `builder` describes, not enabled yet.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(builder: &mut Builder<'_>) -> io::Result<Ring> {
        builder
            .sample_regs_user(arch::REGISTERS)
            .sample(SampleFlag::REGS_USER)
            .sample_stack_user(STACK)
            .sample(SampleFlag::STACK_USER);
        Ok(Ring(builder.build()?.sampled(BUFFER)?))
    }

    /// Enables it for so many samples more; then the kernel itself disables it, at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn allow(&mut self, samples: i32) -> io::Result<()> {
        // SAFETY: the descriptor is that of an open event; the request takes a number and touches
        // no memory of ours.
        let result =
            unsafe { perf_event_open_sys::ioctls::REFRESH(self.0.as_counter().as_raw_fd(), samples) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Disables it.
    pub fn disable(&mut self) {
        // It only fails for what is no event.
        let _ = self.0.as_counter_mut().disable();
    }

    /// Has the kernel take a sample of one event of so many. Not while it is enabled: it would
    /// begin with a sample at once.
    pub fn set_period(&mut self, period: u64) {
        // The binding hands a number on, but the kernel takes a pointer to one
        // (kernel/events/core.c, _perf_ioctl).
        let address = (&raw const period) as u64;
        // SAFETY: the descriptor is that of an open event; the kernel reads the `u64` at the
        // address, which lives on. It fails where the thread has ended.
        unsafe { perf_event_open_sys::ioctls::PERIOD(self.0.as_counter().as_raw_fd(), address) };
    }

    /// How many events there were while it was enabled, sampled or not.
    pub fn count(&mut self) -> u64 {
        // It only fails for what is no event.
        self.0.as_counter_mut().read().unwrap_or(0)
    }

    /// Calls `each` with the samples since the last time, their registers and the stack from its
    /// pointer up; no more often than fits into the buffer.
    pub fn drain(&mut self, mut each: impl FnMut(&Sample, Registers, Vec<u8>)) {
        for _ in 0..BUFFER / SMALLEST {
            let Some(record) = self.0.next_record() else { break };
            let Ok(Record::Sample(sample)) = record.parse_record() else { continue };
            let registers = sample.regs_user().and_then(|user| Registers::of(&user.regs));
            if let (Some(registers), Some(stack)) = (registers, sample.stack_user()) {
                each(&sample, registers, stack.to_vec());
            }
        }
    }
}
