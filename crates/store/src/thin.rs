//! Thinning: the older, the sparser.
//!
//! The newest `full` seconds keep every snapshot; of those up to twice as old one every 2 seconds
//! is kept, up to four times one every 4, and so on: each doubling of age costs the same room, so a
//! recording grows with the logarithm of its length. Which one of a step is kept depends on the
//! time alone, so thinning again changes nothing.

use rusqlite::Connection;

/// Thins the snapshots of `target_id`; returns how many went.
pub(crate) fn thin(
    connection: &Connection,
    target_id: i64,
    now_ms: i64,
    full_s: i64,
) -> rusqlite::Result<usize> {
    let oldest: Option<i64> = connection.query_row(
        "SELECT min(time_ms) FROM snapshot WHERE target_id = ?1",
        [target_id],
        |row| row.get(0),
    )?;
    let Some(oldest) = oldest else { return Ok(0) };
    let mut gone = 0;
    let mut delete = connection.prepare_cached(
        "DELETE FROM snapshot WHERE id IN (
             SELECT id FROM (
                 SELECT id, row_number() OVER (PARTITION BY time_ms / ?4 ORDER BY time_ms) AS place
                 FROM snapshot WHERE target_id = ?1 AND time_ms > ?2 AND time_ms <= ?3
             ) WHERE place > 1)",
    )?;
    let full_ms = full_s.max(1) * 1000;
    for doubling in 0..40 {
        let newest = now_ms - (full_ms << doubling);
        if newest < oldest {
            break;
        }
        let step_ms = 2000i64 << doubling;
        // Steps are whole: one that is only partly old enough waits.
        let until = newest / step_ms * step_ms - 1;
        let from = now_ms - (full_ms << (doubling + 1));
        // The first snapshot is where growth is counted from: it stays.
        gone += delete.execute((target_id, from.max(oldest), until, step_ms))?;
    }
    if gone > 0 {
        connection.execute("DELETE FROM frame WHERE id NOT IN (SELECT frame_id FROM snapshot)", [])?;
    }
    Ok(gone)
}
