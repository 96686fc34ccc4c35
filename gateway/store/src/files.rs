use std::io;
use std::sync::Arc;

mod directory;
#[cfg(any(test, feature = "testing"))]
mod simulated;

pub use directory::Directory;
#[cfg(any(test, feature = "testing"))]
pub use simulated::{Fault, Operation, Simulated};

/// All that the store asks of a disk: the files of one directory.
///
/// There are two: [`Directory`], and in tests one that loses whatever a disk may lose.
pub trait Files: Send + Sync {
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing; it is made, empty, if it is not there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of whatever had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// What was created, removed and renamed stays so through a crash.
    fn sync_names(&self) -> io::Result<()>;

    /// A number that nobody outside can guess.
    fn salt(&self) -> u32;
}

/// One file of [`Files`].
pub trait File: Send + Sync {
    fn size(&self) -> io::Result<u64>;

    /// Reads what there is, up to the length of `bytes`.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of it, or fails having written any part of it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file at least so large, zeros at its end, with space on the disk for all of it.
    fn allocate(&self, size: u64) -> io::Result<()>;

    fn truncate(&self, size: u64) -> io::Result<()>;

    /// What was written stays written through a crash.
    fn sync(&self) -> io::Result<()>;
}
