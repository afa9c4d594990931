//! The whole command line and the environment: they lie at the top of the first thread's stack
//! (fs/binfmt_elf.c, `create_elf_tables`): the number of arguments, pointers to them, NULL,
//! pointers to the environment, NULL, the auxiliary vector, and above all that the texts
//! themselves, one behind the other.

use crate::core::Core;
use crate::headers::word_of;
use offheap_target::{Memory, Target};

/// The texts are a quarter of the stack's limit at most (execve(2)), which is 8 MiB unless told
/// otherwise.
const MOST_STACK: u64 = 8 << 20;
/// Words of the auxiliary vector that must be the same to know it again.
const KNOWN: usize = 4 * 8;

/// The texts that a process was started with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub command_line: Option<Vec<u8>>,
    pub environment: Option<Vec<u8>>,
}

/// Finds them in `core`; nothing where the stack is not in it.
pub(crate) fn find(core: &Core) -> Arguments {
    look(core).unwrap_or_default()
}

fn look(core: &Core) -> Option<Arguments> {
    let stack = core.vmas().iter().find(|vma| vma.path == "[stack]")?;
    let start = stack.start.max(stack.end.saturating_sub(MOST_STACK));
    let mut bytes = vec![0; (stack.end - start) as usize];
    let got = core.read_bulk(start, &mut bytes);
    bytes.truncate(got);
    let vector = core.auxiliary_bytes().get(..KNOWN)?;
    let at = (0..bytes.len()).step_by(8).find(|at| bytes.get(*at..*at + KNOWN) == Some(vector))?;
    let word = |index: usize| bytes.get(index * 8..index * 8 + 8).map(word_of);
    // Backwards from the vector: NULL, the environment, NULL, the arguments, their number.
    let mut index = (at / 8).checked_sub(1)?;
    if word(index)? != 0 {
        return None;
    }
    let pointers = |index: &mut usize, ends: &dyn Fn(u64, u64) -> bool| {
        let mut count = 0;
        loop {
            *index = index.checked_sub(1)?;
            let found = word(*index)?;
            if ends(found, count) {
                return Some(count);
            }
            count += 1;
        }
    };
    let variables = pointers(&mut index, &|found, _| found == 0)?;
    let first_variable = index + 1;
    let count = pointers(&mut index, &|found, count| found == count)?;
    let first_argument = index + 1;
    let text = |from: u64, to: u64| {
        let place = usize::try_from(from.checked_sub(start)?).ok()?;
        let end = usize::try_from(to.checked_sub(start)?).ok()?;
        bytes.get(place..end).map(<[u8]>::to_vec)
    };
    let name = core.auxiliary(crate::elf::AT_EXECFN)?;
    let end_of_arguments = if variables > 0 { word(first_variable)? } else { name };
    Some(Arguments {
        command_line: if count > 0 { text(word(first_argument)?, end_of_arguments) } else { None },
        environment: if variables > 0 { text(word(first_variable)?, name) } else { Some(Vec::new()) },
    })
}
