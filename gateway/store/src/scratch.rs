use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::files::{File, Files};
use crate::{PAGE_BYTES, PageNumber, Pages};

/// The pages of queues: a file that is emptied at the start and never synced. It is made when the
/// first page is needed.
pub(crate) struct Scratch {
    files: Arc<dyn Files>,
    file: OnceLock<Arc<dyn File>>,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    pages: Vec<u32>,
    /// Pages from here on have never been used.
    unused: u32,
}

const NAME: &str = "scratch";
/// In front of what a page has: its length.
const LENGTH: usize = 4;

impl Scratch {
    pub fn open(files: Arc<dyn Files>) -> Self {
        // Gone with the process that it served; if it cannot be removed, it is written over.
        match files.remove(NAME) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "pages of before cannot be removed");
            }
            _ => {}
        }
        Self { files, file: OnceLock::new(), free: Mutex::new(Free::default()) }
    }

    fn file(&self) -> io::Result<&Arc<dyn File>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = self.files.create(NAME)?;
        Ok(self.file.get_or_init(|| file))
    }

    fn write(&self, page: u32, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.len() <= PAGE_BYTES, "a page has {PAGE_BYTES} bytes at most");
        let mut framed = Vec::with_capacity(LENGTH + bytes.len());
        framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        framed.extend_from_slice(bytes);
        self.file()?.write_at(&framed, offset(page))
    }
}

fn offset(page: u32) -> u64 {
    u64::from(page) * (LENGTH + PAGE_BYTES) as u64
}

impl Pages for Scratch {
    fn put(&self, bytes: &[u8]) -> io::Result<PageNumber> {
        let page = {
            let mut free = self.free.lock();
            free.pages.pop().unwrap_or_else(|| {
                free.unused += 1;
                free.unused - 1
            })
        };
        match self.write(page, bytes) {
            Ok(()) => Ok(PageNumber(page)),
            Err(error) => {
                self.free.lock().pages.push(page);
                Err(error)
            }
        }
    }

    fn get(&self, page: PageNumber) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; LENGTH + PAGE_BYTES];
        let read = self.file()?.read_at(&mut bytes, offset(page.0))?;
        let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let length = u32::from_le_bytes(*bytes[..read].first_chunk().ok_or_else(short)?) as usize;
        bytes.truncate(read.min(LENGTH + length));
        bytes.drain(..LENGTH);
        if bytes.len() < length { Err(short()) } else { Ok(bytes) }
    }

    fn free(&self, page: PageNumber) {
        let mut free = self.free.lock();
        free.pages.push(page.0);
        if free.pages.len() == free.unused as usize {
            // Nobody has a page any more: the space goes back.
            *free = Free::default();
            if let Some(file) = self.file.get()
                && let Err(error) = file.truncate(0)
            {
                tracing::debug!(%error, "the pages stay as large as they were");
            }
        }
    }
}
