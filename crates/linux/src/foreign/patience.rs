//! Waiting for a file system, but not for ever: one of a dead network or FUSE server holds up every
//! call that names a file there, and no signal but a deadly one ends that.

use super::Refused;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a file system is waited for. One that takes longer, such as a disk that spins up, is
/// asked again once it has answered.
const PATIENCE: Duration = Duration::from_secs(3);
/// Calls that may be held up at one time; once they are, nothing foreign is opened any more. They
/// end with this process.
const MOST_STUCK: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// What is known of the file systems, for the whole process.
static STATE: Mutex<State> = Mutex::new(State { idle: Vec::new(), stuck: 0, silent: Vec::new() });

struct State {
    /// Threads that wait for work: one for each call that was under way at one time.
    idle: Vec<Sender<Job>>,
    /// Calls that are held up.
    stuck: usize,
    /// The devices of file systems that held one up.
    silent: Vec<(u32, u32)>,
}

fn state() -> std::sync::MutexGuard<'static, State> {
    // Nothing that holds it can panic half-way.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work`, which names files of the file system `device`, if that is known.
///
/// # Errors
/// Those of `work`; [`Refused::NoAnswer`] where the file system doesn't answer, or didn't before.
pub(super) fn patiently<T: Send + 'static>(
    device: Option<(u32, u32)>,
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let idle = {
        let mut state = state();
        if state.stuck >= MOST_STUCK || device.is_some_and(|device| state.silent.contains(&device)) {
            return Err(Refused::NoAnswer);
        }
        state.idle.pop()
    };
    let (answer, answered) = channel();
    let job: Job = Box::new(move || {
        let done = work();
        // Under the lock, so that either the answer is in time or this knows that it is not.
        let mut state = state();
        let late = answer.send(done);
        if late.is_err() {
            // It was given up, and has come back after all.
            state.stuck = state.stuck.saturating_sub(1);
            state.silent.retain(|silent| Some(*silent) != device);
        }
        // What came too late is closed once nobody waits for the lock.
        drop(state);
    });
    let worker = idle.map_or_else(start, Ok)?;
    worker.send(job).map_err(|_| Refused::NoAnswer)?;
    match answered.recv_timeout(PATIENCE) {
        Ok(done) => {
            state().idle.push(worker);
            done
        }
        // It panicked, and has said so.
        Err(RecvTimeoutError::Disconnected) => Err(Refused::NoAnswer),
        Err(RecvTimeoutError::Timeout) => {
            let mut state = state();
            if let Ok(done) = answered.try_recv() {
                state.idle.push(worker);
                return done;
            }
            state.stuck += 1;
            state.silent.extend(device);
            drop(answered);
            Err(Refused::NoAnswer)
        }
    }
}

/// A thread that does what it is sent, until nobody can send any more.
fn start() -> Result<Sender<Job>, Refused> {
    let (jobs, work) = channel::<Job>();
    std::thread::Builder::new()
        .name("files".to_owned())
        .stack_size(256 << 10)
        .spawn(move || work.into_iter().for_each(|job| job()))?;
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn what_does_not_answer_is_waited_for_once() {
        let device = Some((990, 1));
        let (release, held_up) = channel::<()>();
        let begin = Instant::now();
        let stuck = patiently(device, move || {
            let _ = held_up.recv();
            Ok(())
        });
        assert!(matches!(stuck, Err(Refused::NoAnswer)));
        let first = begin.elapsed();
        assert!(first >= PATIENCE, "{first:?}");
        let begin = Instant::now();
        for _ in 0..100 {
            assert!(matches!(patiently(device, || Ok(())), Err(Refused::NoAnswer)));
        }
        assert!(begin.elapsed() < PATIENCE, "it was waited for again");
        // Others are not concerned.
        assert!(matches!(patiently(None, || Ok(7)), Ok(7)));
        assert!(matches!(patiently(Some((990, 2)), || Ok(8)), Ok(8)));

        // Once it answers, it is asked again.
        release.send(()).unwrap();
        while !matches!(patiently(device, || Ok(9)), Ok(9)) {
            assert!(begin.elapsed() < 10 * PATIENCE, "it was never asked again");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
