//! Command lines without their secrets: they are kept in recordings, reports and JSON, and those
//! are passed on.
//!
//! What stands behind a word like `password` becomes `***`: `-Ddb.password=x`, `--token x`,
//! `?password=x&…`, and so does the password in a URL. It is a safety net and no promise: a secret
//! without such a word before it can't be told from anything else.

/// What stands in a secret's place.
pub const MASK: &str = "***";

/// Words that say that a secret follows; `api-key`, `api_key` and `apiKey` are `apikey`.
const WORDS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
    "sessionkey",
];

/// Characters of a name that are looked at.
const LONGEST: usize = 100;

/// The words of a command line, its secrets masked, apart by blanks.
pub fn masked<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let (mut out, mut follows, mut authorizes) = (String::new(), false, false);
    for (place, word) in words.into_iter().flat_map(|word| word.split(' ')).enumerate() {
        if place > 0 {
            out.push(' ');
        }
        let lower = word.to_ascii_lowercase();
        if follows && !word.starts_with('-') && !word.is_empty() {
            out.push_str(MASK);
            follows = false;
            continue;
        }
        out.push_str(&without_login(&without_values(word)));
        // `--token x`, `Authorization: Bearer x`.
        let is_option = word.starts_with('-') && !word.contains(['=', ':']) && names_a_secret(word);
        let is_scheme = authorizes && matches!(lower.as_str(), "bearer" | "basic" | "digest");
        follows = is_option || is_scheme;
        authorizes = lower.contains("authorization");
    }
    out
}

/// `password=x&user=y` → `password=***&user=y`: a value ends where the next one may begin.
fn without_values(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(['=', ':']) {
        let (name, after) = rest.split_at(at);
        out.push_str(name);
        out.push_str(after.get(..1).unwrap_or_default());
        rest = after.get(1..).unwrap_or_default();
        // The name is what stands before, back to the last value's end.
        let last = name.rsplit(['&', ';', ',', '?', '/', '{', '(']).next().unwrap_or(name);
        // `token://` is a scheme.
        if names_a_secret(last) && !rest.is_empty() && !rest.starts_with("//") {
            let end = rest.find(['&', ';', ',', '}', ')']).unwrap_or(rest.len());
            out.push_str(MASK);
            rest = rest.get(end..).unwrap_or_default();
        }
    }
    out + rest
}

/// `scheme://user:x@host` → `scheme://user:***@host`.
fn without_login(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let Some((login, _)) = host.rsplit_once('@') else { return word.to_owned() };
    let Some((user, _)) = login.split_once(':') else { return word.to_owned() };
    format!("{scheme}://{user}:{MASK}{}", rest.get(login.len()..).unwrap_or_default())
}

/// Whether a part of a name ends with one of [`WORDS`]: `dbPassword` and `api-key-file`, not
/// `tokenizer`.
fn names_a_secret(name: &str) -> bool {
    // What is longer is no name; its end may be one.
    let begin = name.char_indices().rev().nth(LONGEST).map_or(0, |(at, _)| at);
    let name = name.get(begin..).unwrap_or(name);
    // Parts are apart by `-`, `_` and `.`, or by a capital letter after a small one.
    let mut parts = vec![String::new()];
    let mut was_small = false;
    for c in name.chars() {
        let separates = matches!(c, '-' | '_' | '.');
        if separates || was_small && c.is_ascii_uppercase() {
            parts.push(String::new());
        }
        was_small = c.is_ascii_lowercase();
        if let Some(part) = parts.last_mut().filter(|_| !separates) {
            part.push(c.to_ascii_lowercase());
        }
    }
    let is_one = |part: &str| {
        let one = part.strip_suffix('s').unwrap_or(part);
        WORDS.iter().any(|word| part.ends_with(word) || one.ends_with(word))
    };
    parts.iter().any(|part| is_one(part))
        || parts.windows(2).any(|pair| matches!(pair, [a, b] if is_one(&format!("{a}{b}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_secret_word_is_masked() {
        for (line, expected) in [
            ("java -Ddb.password=hunter2 -jar a.jar", "java -Ddb.password=*** -jar a.jar"),
            ("app --token abc123 --port 80", "app --token *** --port 80"),
            ("app --api-key=abc --user me", "app --api-key=*** --user me"),
            ("app --api-key-file /run/x", "app --api-key-file ***"),
            ("-Djavax.net.ssl.trustStorePassword=changeit x", "-Djavax.net.ssl.trustStorePassword=*** x"),
            ("AWS_SECRET_ACCESS_KEY=abc/def+x app", "AWS_SECRET_ACCESS_KEY=*** app"),
            (
                "jdbc:mysql://db/x?user=me&password=p1&ssl=true",
                "jdbc:mysql://db/x?user=me&password=***&ssl=true",
            ),
            ("jdbc:sqlserver://db;user=me;password=p1;x=1", "jdbc:sqlserver://db;user=me;password=***;x=1"),
            ("redis://me:p@ss@host:6379/0", "redis://me:***@host:6379/0"),
            ("curl -H Authorization: Bearer abc.def", "curl -H Authorization: Bearer ***"),
            ("-javaagent:x.jar=host=h,token=abc,on", "-javaagent:x.jar=host=h,token=***,on"),
            ("--dbPasswords a", "--dbPasswords ***"),
            ("--secret --next x", "--secret --next x"),
        ] {
            assert_eq!(masked([line]), expected);
            // Word by word as from the kernel it is the same.
            assert_eq!(masked(line.split(' ')), expected);
        }
    }

    #[test]
    fn everything_else_stays() {
        for line in [
            "java -Xmx2g -XX:+UseG1GC -XX:NativeMemoryTracking=summary -cp a:b:c app.Main",
            "python3 -m http.server 8080",
            "run --auth basic file",
            "app --tokenizer=bert --passive on https://host:8080/path?x=1 mail@host",
            "java -Dx= -jar  two blanks",
            "token://host/x",
            "",
        ] {
            assert_eq!(masked([line]), line);
        }
    }

    #[test]
    fn long_and_strange_words_are_no_trouble() {
        let long = "password=".repeat(100_000);
        assert!(masked([long.as_str()]).len() <= long.len());
        for word in ["=", ":", "password", "password=", "://:@", "a://b:@", "пароль=ё", "--token=é&é"]
        {
            masked([word, word]);
        }
        masked(["-".repeat(1 << 20).as_str(), "token-".repeat(1000).as_str()]);
    }
}
