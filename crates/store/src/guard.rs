//! Keeps the SQL of a stranger's file from being more than rows: nothing in it runs, and reading it
//! ends.
//!
//! A SQLite file can hold programs: triggers, views, generated columns, indexes on expressions,
//! virtual tables. A recording holds exactly what `schema.sql` makes, to the word; whatever holds
//! anything else is refused before a row of it is read. That is also how versions go together: a
//! change of `schema.sql` is a new [`SCHEMA_VERSION`](crate::SCHEMA_VERSION), and an older offheap
//! refuses the newer file by that number, not by what it finds in it.

use crate::{APPLICATION_ID, Error, SCHEMA_VERSION};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ffi};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// No value is larger, bytes: profiles and frames come nowhere near it.
const LARGEST_VALUE: i32 = 64 << 20;

/// What SQLite may do at most, whatever a file says. Our own statements and schema need less than
/// half of each.
const LIMITS: [(Limit, i32); 14] = [
    (Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 16 << 10),
    (Limit::SQLITE_LIMIT_COLUMN, 32),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 32),
    (Limit::SQLITE_LIMIT_PARSER_DEPTH, 64),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 4),
    (Limit::SQLITE_LIMIT_VDBE_OP, 4096),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 8),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 64),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 16),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 4),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    (Limit::SQLITE_LIMIT_SCHEMA, 64),
];

/// Steps of SQLite's machine between two looks at the budget.
const STEPS: i32 = 1000;

/// How much work a statement may be: renewed before each.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    steps: u64,
    time: Duration,
    left: Arc<AtomicI64>,
    /// Nanoseconds after `begun` at which it must be done.
    end: Arc<AtomicI64>,
    begun: Instant,
}

impl Budget {
    /// `steps` of SQLite's machine and `time` a statement.
    pub(crate) fn new(steps: u64, time: Duration) -> Budget {
        let budget = Budget { steps, time, left: Arc::default(), end: Arc::default(), begun: Instant::now() };
        budget.renew();
        budget
    }

    /// The next statement has all of it.
    pub(crate) fn renew(&self) {
        self.left.store(i64::try_from(self.steps).unwrap_or(i64::MAX), Ordering::Relaxed);
        let end = (self.begun.elapsed() + self.time).as_nanos();
        self.end.store(i64::try_from(end).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.left.fetch_sub(i64::from(STEPS), Ordering::Relaxed) <= 0
            || self.begun.elapsed().as_nanos() as i64 > self.end.load(Ordering::Relaxed)
    }
}

/// Makes `connection` safe for any file, before anything is read of it.
pub(crate) fn prepare(connection: &mut Connection, budget: &Budget) -> rusqlite::Result<()> {
    for (setting, value) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        connection.set_db_config(setting, value)?;
    }
    for (limit, value) in LIMITS {
        connection.set_limit(limit, value)?;
    }
    let budget = budget.clone();
    connection.progress_handler(STEPS, Some(move || budget.is_spent()))?;
    // A file that shrinks while it is mapped would be a SIGBUS.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// Kind and name of what is in a schema; the table it belongs to, and its SQL in words.
type Schema = BTreeMap<(String, String), (String, String)>;

/// That the file is a recording of this version, and nothing else is in it.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let fail = |source| Error::from_sqlite(path, source);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if pragma("application_id").map_err(fail)? != APPLICATION_ID {
        return Err(Error::NotARecording(path.to_owned()));
    }
    match pragma("user_version").map_err(fail)? {
        SCHEMA_VERSION => {}
        // There never was a version 0: somebody else's file, or damage.
        ..=0 => return Err(Error::NotARecording(path.to_owned())),
        found => return Err(Error::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION }),
    }
    let ours = ours().map_err(fail)?;
    let found = schema(connection).map_err(fail)?;
    let strange = |what: String| Error::Strange { path: path.to_owned(), what };
    for ((kind, name), is) in &found {
        match ours.get(&(kind.clone(), name.clone())) {
            None => return Err(strange(format!("it has a {kind} {name:?}"))),
            Some(known) if known != is => return Err(strange(format!("its {kind} {name:?} is another"))),
            Some(_) => {}
        }
    }
    match ours.keys().find(|key| !found.contains_key(key)) {
        Some((kind, name)) => Err(strange(format!("it has no {kind} {name:?}"))),
        None => Ok(()),
    }
}

/// What `schema.sql` makes.
fn ours() -> rusqlite::Result<&'static Schema> {
    static OURS: OnceLock<Schema> = OnceLock::new();
    if let Some(known) = OURS.get() {
        return Ok(known);
    }
    let made = schema(&empty()?)?;
    Ok(OURS.get_or_init(|| made))
}

/// An empty recording, in memory.
fn empty() -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    // A file that shrinks when snapshots are thinned needs this before anything else is in it.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    connection.execute_batch(include_str!("schema.sql"))?;
    Ok(connection)
}

/// The bytes of an empty recording.
pub(crate) fn empty_file() -> rusqlite::Result<Vec<u8>> {
    Ok(empty()?.serialize("main")?.to_vec())
}

fn schema(connection: &Connection) -> rusqlite::Result<Schema> {
    let mut statement = connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let rows = statement.query_map([], |row| {
        let sql: Option<String> = row.get(3)?;
        Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, words(&sql.unwrap_or_default()))))
    })?;
    rows.collect()
}

/// SQL without its comments, all blanks alike: they may change within a version.
fn words(sql: &str) -> String {
    let code = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// True where `error` says that a [`Budget`] was spent.
pub(crate) fn is_spent(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|failure| failure.extended_code == ffi::SQLITE_INTERRUPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blanks_are_no_part_of_a_schema() {
        assert_eq!(
            words("CREATE  TABLE t (\n  a INTEGER, -- a--b\n\tb TEXT)"),
            "CREATE TABLE t ( a INTEGER, b TEXT)"
        );
        assert!(ours().unwrap().contains_key(&("table".to_owned(), "mark".to_owned())));
    }

    #[test]
    fn our_own_schema_and_statements_stay_within_half_of_the_limits() {
        let mut connection = empty().unwrap();
        let budget = Budget::new(1_000_000, Duration::from_secs(60));
        prepare(&mut connection, &budget).unwrap();
        for (limit, value) in LIMITS {
            connection.set_limit(limit, value / 2).unwrap();
        }
        check(&connection, Path::new("x")).unwrap();
        assert_eq!(connection.limit(Limit::SQLITE_LIMIT_ATTACHED).unwrap(), 0);
        assert!(connection.execute_batch("ATTACH ':memory:' AS other").is_err());
    }

    #[test]
    fn a_statement_that_never_ends_does() {
        let mut connection = Connection::open_in_memory().unwrap();
        let budget = Budget::new(1_000_000, Duration::from_secs(600));
        prepare(&mut connection, &budget).unwrap();
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        let error = connection.query_row(endless, [], |row| row.get::<_, i64>(0)).unwrap_err();
        assert!(is_spent(&error), "{error:?}");
        // The next one begins anew.
        budget.renew();
        assert_eq!(connection.query_row("SELECT 7", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
    }
}
