//! The files of a store's log, seen from outside.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Outcome, Stop};

/// Of a segment's header.
pub const HEADER: usize = 24;

/// Where that has the version of the format, and its checksum.
const VERSION_AT: usize = 8;
const CHECKSUM_AT: usize = 20;

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

/// The files, and what is in them.
pub fn contents(data_dir: &Path) -> Outcome<Vec<(PathBuf, Vec<u8>)>> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path)?;
        Ok((path, bytes))
    };
    of(data_dir)?.into_iter().map(read).collect()
}

/// The format of the oldest of them.
pub fn version(data_dir: &Path) -> Outcome<u32> {
    let oldest = of(data_dir)?.into_iter().next();
    let oldest = oldest.ok_or_else(|| Stop::Failed(format!("there is no log in {}", data_dir.display())))?;
    let bytes = fs::read(oldest)?;
    Ok(u32::from_le_bytes(bytes[VERSION_AT..VERSION_AT + 4].try_into()?))
}

/// As if a gateway of that format had written it.
pub fn set_version(path: &Path, version: u32) -> Outcome {
    let mut bytes = fs::read(path)?;
    bytes[VERSION_AT..VERSION_AT + 4].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    Ok(fs::write(path, bytes)?)
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
