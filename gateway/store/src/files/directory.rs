use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{File, Files};

/// A directory of the operating system, locked against other processes while this value lives.
pub struct Directory {
    path: PathBuf,
    handle: fs::File,
    /// Held, not used.
    _lock: Option<fs::File>,
}

/// The file that whoever writes in the directory has locked.
const LOCK: &str = "lock";

impl Directory {
    /// Makes the directory if need be. Fails with [`io::ErrorKind::WouldBlock`] if another process
    /// has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::make(path, 0o700)?;
        let lock = private().create(true).truncate(false).open(path.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::from(io::ErrorKind::WouldBlock),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), handle: fs::File::open(path)?, _lock: Some(lock) })
    }

    /// For looking only: whoever has the directory open goes on.
    pub fn look(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), handle: fs::File::open(path)?, _lock: None })
    }

    /// Makes a directory that is still there after a power cut, unless it is there, and all above it.
    pub fn make(path: &Path, mode: u32) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        Self::make(parent, mode)?;
        match DirBuilder::new().mode(mode).create(path) {
            // Somebody else may have made it meanwhile; but something that is no directory stays an error.
            Err(error) if !path.is_dir() => return Err(error),
            _ => {}
        }
        fs::File::open(parent)?.sync_all()
    }
}

/// What clients send is nobody else's business.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Files for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(private().create(true).truncate(false).open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let file = if self._lock.is_some() { private().open(path)? } else { fs::File::open(path)? };
        Ok(Arc::new(file))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn salt(&self) -> u32 {
        // Without the operating system's random numbers the store still works: then whoever can
        // guess this may forge a record, if a disk error happens to hit the right place.
        getrandom::u32().unwrap_or(0x7A11_DA7A)
    }
}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match FileExt::read_at(self, &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            // Not every file system can; there a full disk is found out when writing.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.metadata()?.len() < size => self.set_len(size),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
