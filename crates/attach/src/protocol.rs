//! Requests and replies as bytes. Source: `AttachListenerThread`, `AttachOperation` and
//! `RequestReader` in attachListener.cpp and attachListener_posix.cpp of JDK 8 to 26.

/// What the JVM answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 0: the command was carried out. Anything else, usually -1: it was not, and the text says
    /// why.
    pub status: i32,
    /// All that came after the status; what is not UTF-8 in it is replaced.
    pub text: String,
}

/// Most characters of a command's name in version 1 (`AttachOperation::name_length_max`).
const NAME_MAX: usize = 16;
/// Most bytes of an argument in version 1 (`AttachOperation::arg_length_max`).
const ARGUMENT_MAX: usize = 1024;
/// Most arguments, in either version (`AttachOperation::arg_count_max`).
const ARGUMENTS: usize = 3;
/// Most bytes of a version 2 request (`RequestReader::max_request_size`).
const REQUEST_MAX: usize = 256 << 10;

/// The status of a version that the JVM doesn't know (`ATTACH_ERROR_BADVERSION`).
pub const BAD_VERSION: i32 = 101;

/// A command with its arguments, none of which has a NUL.
#[derive(Debug)]
pub struct Request {
    /// The command and always three arguments: an absent one is an empty one to the JVM.
    fields: [String; 1 + ARGUMENTS],
}

impl Request {
    /// An error says what is wrong with the command.
    pub fn new(command: &str, arguments: &[&str]) -> Result<Request, String> {
        if command.is_empty() {
            return Err("it is empty".to_owned());
        }
        if arguments.len() > ARGUMENTS {
            return Err(format!("it has {} arguments, and at most {ARGUMENTS} can be sent", arguments.len()));
        }
        let given = || std::iter::once(command).chain(arguments.iter().copied());
        if given().any(|field| field.contains('\0')) {
            return Err("it holds a NUL byte".to_owned());
        }
        let mut fields: [String; 1 + ARGUMENTS] = Default::default();
        for (field, given) in fields.iter_mut().zip(given()) {
            given.clone_into(field);
        }
        let request = Request { fields };
        if command.len() > NAME_MAX || request.body_len() > REQUEST_MAX {
            return Err(format!(
                "it is {} bytes long; the protocol allows {REQUEST_MAX}",
                request.body_len()
            ));
        }
        Ok(request)
    }

    fn body_len(&self) -> usize {
        self.fields.iter().map(|field| field.len() + 1).sum()
    }

    /// Whether JVMs before 25, which know version 1 only, can be sent it.
    pub fn fits_version_1(&self) -> bool {
        self.fields[1..].iter().all(|argument| argument.len() <= ARGUMENT_MAX)
    }

    /// The version and four strings, each with a NUL behind it.
    pub fn version_1(&self) -> Vec<u8> {
        let mut bytes = b"1\0".to_vec();
        self.push_fields(&mut bytes);
        bytes
    }

    /// JDK 25 and later: the version and the length of what follows, then the strings.
    pub fn version_2(&self) -> Vec<u8> {
        let mut bytes = format!("2\0{}\0", self.body_len()).into_bytes();
        self.push_fields(&mut bytes);
        bytes
    }

    fn push_fields(&self, bytes: &mut Vec<u8>) {
        for field in &self.fields {
            bytes.extend(field.as_bytes());
            bytes.push(0);
        }
    }
}

/// The status line and the rest. `None` where there is no such line.
pub fn parse_reply(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (status, rest) = bytes.split_at(end);
    let status = std::str::from_utf8(status).ok()?.trim().parse().ok()?;
    let text = String::from_utf8_lossy(rest.get(1..).unwrap_or_default()).into_owned();
    Some(Reply { status, text })
}

/// Whether the answer to `getversion` (JDK 25 and later: `2 options…`) tells that version 2 is
/// understood.
pub fn understands_version_2(reply: &Reply) -> bool {
    let version = reply.text.split_whitespace().next().and_then(|version| version.parse::<u32>().ok());
    reply.status == 0 && version.is_some_and(|version| version >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let request = Request::new("jcmd", &["VM.version"]).expect("a request");
        assert_eq!(request.version_1(), b"1\0jcmd\0VM.version\0\0\0");
        assert_eq!(request.version_2(), b"2\x0018\0jcmd\0VM.version\0\0\0");
        assert!(request.fits_version_1());
        assert!(!Request::new("jcmd", &["x".repeat(1025).as_str()]).expect("a request").fits_version_1());
        assert!(Request::new("jcmd", &["x".repeat(256 << 10).as_str()]).is_err());
        assert!(Request::new("jcmd", &["a\0b"]).is_err());
        assert!(Request::new("jcmd", &["1", "2", "3", "4"]).is_err());
        assert!(Request::new("", &[]).is_err());
    }

    #[test]
    fn replies() {
        assert_eq!(parse_reply(b"0\n17.0.9\n"), Some(Reply { status: 0, text: "17.0.9\n".into() }));
        assert_eq!(parse_reply(b"-1\n"), Some(Reply { status: -1, text: String::new() }));
        assert_eq!(parse_reply(b"101"), Some(Reply { status: 101, text: String::new() }));
        assert_eq!(parse_reply(b"hello\n"), None);
        assert_eq!(parse_reply(b""), None);
        let version = |text: &str| understands_version_2(&Reply { status: 0, text: text.into() });
        assert!(version("2 streaming") && !version("1 ") && !version("Operation getversion not recognized!"));
    }
}
