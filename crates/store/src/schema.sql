-- The schema of a recording, version 1. Times are milliseconds since the Unix epoch, sizes are bytes.

-- One row a process: a restarted one has another start_ticks or boot_id, and a row of its own.
CREATE TABLE target (
    id          INTEGER PRIMARY KEY,
    pid         INTEGER NOT NULL,
    start_ticks INTEGER NOT NULL, -- clock ticks after boot (proc(5), stat field 22)
    boot_id     TEXT NOT NULL,    -- /proc/sys/kernel/random/boot_id of the host
    host        TEXT NOT NULL,
    command     TEXT NOT NULL,
    ended_ms    INTEGER,          -- NULL while it runs, or where the recording stopped first
    ended_how   TEXT,             -- 'exited', 'killed for memory', …
    UNIQUE (pid, start_ticks, boot_id)
);

-- Whole snapshots in JSON, zstd-compressed, that others are compressed against.
CREATE TABLE frame (
    id   INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: another writer may still know it
    body BLOB NOT NULL
);

-- One row a snapshot; old ones are thinned out.
CREATE TABLE snapshot (
    id        INTEGER PRIMARY KEY,
    target_id INTEGER NOT NULL REFERENCES target,
    time_ms   INTEGER NOT NULL,
    rss_bytes INTEGER NOT NULL,
    frame_id  INTEGER NOT NULL REFERENCES frame,
    body      BLOB NOT NULL -- JSON, zstd-compressed with the frame as its dictionary
);
CREATE INDEX snapshot_by_time ON snapshot (target_id, time_ms);

-- What the figures are of.
CREATE TABLE series (
    id   INTEGER PRIMARY KEY,
    kind TEXT NOT NULL, -- 'domain', 'threads', 'arena', 'nmt'
    name TEXT NOT NULL,
    UNIQUE (kind, name)
);

-- The figures of each snapshot.
CREATE TABLE figure (
    snapshot_id INTEGER NOT NULL REFERENCES snapshot ON DELETE CASCADE,
    series_id   INTEGER NOT NULL REFERENCES series,
    bytes       INTEGER NOT NULL,
    count       INTEGER, -- threads, live chunks, malloc blocks
    PRIMARY KEY (snapshot_id, series_id)
) WITHOUT ROWID;

-- What happened: by hand (offheap mark) or noticed. A mark opens a phase that lasts until the next.
CREATE TABLE mark (
    id      INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    text    TEXT NOT NULL
);

-- Profiles in JSON, zstd-compressed.
CREATE TABLE profile (
    id        INTEGER PRIMARY KEY,
    target_id INTEGER NOT NULL REFERENCES target,
    time_ms   INTEGER NOT NULL,
    body      BLOB NOT NULL
);

-- The views: `time` is UTC in words, `target` tells processes apart that had one pid after another.
CREATE VIEW rss AS
    SELECT datetime(time_ms / 1000, 'unixepoch') AS time, time_ms, target.id AS target, pid, rss_bytes
    FROM snapshot JOIN target ON target.id = target_id;

CREATE VIEW figures AS
    SELECT datetime(time_ms / 1000, 'unixepoch') AS time, time_ms, target.id AS target, pid, kind, name, bytes, count
    FROM figure
    JOIN snapshot ON snapshot.id = snapshot_id
    JOIN target ON target.id = target_id
    JOIN series ON series.id = series_id;

CREATE VIEW domain_rss AS
    SELECT time, time_ms, target, pid, name AS domain, bytes AS rss_bytes FROM figures WHERE kind = 'domain';

CREATE VIEW thread_pools AS
    SELECT time, time_ms, target, pid, name AS pool, count AS threads, bytes AS resident_bytes FROM figures WHERE kind = 'threads';

CREATE VIEW arenas AS
    SELECT time, time_ms, target, pid, name AS arena, count AS chunks, bytes AS resident_bytes FROM figures WHERE kind = 'arena';

CREATE VIEW nmt AS
    SELECT time, time_ms, target, pid, name AS category, bytes AS malloc_and_committed_bytes, count AS malloc_blocks
    FROM figures WHERE kind = 'nmt';

-- From mark to mark; the last one is open.
CREATE VIEW phases AS
    SELECT datetime(time_ms / 1000, 'unixepoch') AS time, time_ms AS begin_ms,
           lead(time_ms) OVER (ORDER BY time_ms, id) AS end_ms, text
    FROM mark;
