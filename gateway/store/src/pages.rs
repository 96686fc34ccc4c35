use std::io;

/// Scratch space for queues: pages that need not survive the process, so nothing is ever synced.
pub trait Pages: Send + Sync {
    /// Writes a page of at most [`PAGE_BYTES`].
    fn put(&self, bytes: &[u8]) -> io::Result<PageNumber>;

    fn get(&self, page: PageNumber) -> io::Result<Vec<u8>>;

    fn free(&self, page: PageNumber);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageNumber(pub u32);

pub const PAGE_BYTES: usize = 8 * 1024;
