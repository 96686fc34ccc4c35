//! The files of a store's log, seen from outside.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Outcome;

/// Of a segment's header.
pub const HEADER: usize = 24;

/// Zeros that may belong to the last record.
pub const ZEROS: usize = 32;

/// The files of the log in a data directory, in order.
pub fn of(data_dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(data_dir.join("store"))?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    Ok(paths)
}

/// The last of them that holds more than a header, and how many of its bytes are in use: zeros at the
/// end are only room.
pub fn last_used(data_dir: &Path) -> Outcome<Option<(PathBuf, Vec<u8>, usize)>> {
    for path in of(data_dir)?.into_iter().rev() {
        let bytes = fs::read(&path)?;
        let used = used(&bytes);
        if used > HEADER {
            return Ok(Some((path, bytes, used)));
        }
    }
    Ok(None)
}

pub fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}
