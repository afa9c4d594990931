//! The threads of a process (`/proc/PID/task`).

use crate::{Error, Process, Task};

pub(crate) fn list(process: &Process) -> Result<Vec<Task>, Error> {
    let names = process.names("task")?;
    let mut tasks = Vec::with_capacity(names.len());
    // Only inside another pid namespace do the two ids differ; one look at the process's own status
    // tells.
    let same_ids = process.status()?.ns_pids.len() <= 1;
    for name in names {
        let Ok(tid) = name.parse::<i32>() else { continue };
        let Ok(comm) = process.text(&format!("task/{name}/comm")) else { continue };
        let inner_tid = if same_ids {
            tid
        } else {
            process.text(&format!("task/{name}/status")).ok().and_then(|text| inner(&text)).unwrap_or(tid)
        };
        let stack_pointer =
            process.text(&format!("task/{name}/syscall")).ok().and_then(|text| stack_pointer(&text));
        tasks.push(Task { tid, inner_tid, name: comm.trim_end_matches('\n').to_owned(), stack_pointer });
    }
    Ok(tasks)
}

/// The last pid of the `NSpid` line.
fn inner(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

/// proc_pid_syscall(5): `"running"`, or numbers of which the last two are the stack pointer and the
/// program counter.
fn stack_pointer(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace().rev();
    words.next()?;
    u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_pointer_is_the_last_but_one() {
        assert_eq!(stack_pointer("202 0x1 0x189 0x0 0x0 0x0 0x0 0x7ffc0010 0x7f0012\n"), Some(0x7ffc_0010));
        assert_eq!(stack_pointer("-1 0x7ffc0010 0x7f0012\n"), Some(0x7ffc_0010));
        assert_eq!(stack_pointer("running\n"), None);
    }

    #[test]
    fn own_threads_are_listed_with_their_names() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("a waiting one".to_owned())
            .spawn(move || receive.recv())
            .unwrap();
        let process = Process::open(std::process::id() as i32).unwrap();
        // The name is set by the thread itself once it runs.
        let seen = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            process
                .tasks()
                .unwrap()
                .iter()
                .any(|task| task.name == "a waiting one" && task.stack_pointer.is_some())
        });
        drop(send);
        thread.join().unwrap().unwrap_err();
        assert!(seen);
    }
}
