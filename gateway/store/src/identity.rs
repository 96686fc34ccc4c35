use std::fmt;
use std::io;
use std::str;

use crate::Files;

/// Which gateway this is: a random number, made once and kept in its data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(u128);

/// Hex digits and a line feed.
const NAME: &str = "node.id";
const PART: &str = "node.id.part";
const DIGITS: usize = 32;

impl Identity {
    /// Reads it, or makes it if there is none yet. One that is damaged is an error: with another
    /// this would be another gateway.
    pub fn of(files: &dyn Files) -> io::Result<Self> {
        let names = files.list()?;
        if names.iter().any(|name| name == NAME) {
            let mut bytes = [0; DIGITS + 1];
            files.open(NAME)?.read_at(&mut bytes, 0)?;
            return Self::decode(&bytes).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{NAME} is not {DIGITS} hex digits"))
            });
        }
        let halves = [files.salt(), files.salt(), files.salt(), files.salt()];
        let identity = Self(halves.into_iter().fold(0, |number, part| number << 32 | u128::from(part)));
        let file = files.create(PART)?;
        file.truncate(0)?;
        file.write_at(format!("{identity}\n").as_bytes(), 0)?;
        file.sync()?;
        files.rename(PART, NAME)?;
        files.sync_names()?;
        Ok(identity)
    }

    fn decode(bytes: &[u8; DIGITS + 1]) -> Option<Self> {
        let digits = str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        u128::from_str_radix(digits, 16).ok().map(Self)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
