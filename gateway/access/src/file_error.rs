use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a file that a setting names, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    pub path: PathBuf,
    /// From 1; `None` if the file could not be read at all.
    pub line: Option<usize>,
    pub text: String,
}

impl FileError {
    pub(crate) fn at(path: &Path, line: usize, text: impl fmt::Display) -> Self {
        Self { path: path.into(), line: Some(line), text: text.to_string() }
    }

    pub(crate) fn read(path: &Path) -> Result<String, Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Self {
            path: path.into(),
            line: None,
            text: format!("cannot be read: {error}"),
        })?;
        Ok(without_mark(&text).to_owned())
    }
}

/// Some editors begin a file with a byte order mark (U+FEFF); it is no part of its first line.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.line {
            Some(line) => write!(f, "{path}:{line}: {}", self.text),
            None => write!(f, "{path}: {}", self.text),
        }
    }
}

impl std::error::Error for FileError {}
