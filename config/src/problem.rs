use std::fmt;
use std::path::PathBuf;

use crate::Key;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `tidegate.toml`.
    Default,
    /// A file; the line counts from 1.
    File { path: PathBuf, line: Option<usize> },
    /// An environment variable, by name.
    Environment(String),
    /// An argument of the command line, e.g. `--set node.name`.
    Argument(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Argument(argument) => f.write_str(argument),
        }
    }
}

/// One thing that is wrong with the settings: `tidegate.toml:12: listener.mqtt.bnd: unknown key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub origin: Origin,
    /// The root if the problem is no key's (a syntax error, an unreadable file).
    pub key: Key,
    /// What is wrong and what would be right; holds no secrets.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_root() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong with the settings, one per line.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a problem, once: two readers may stumble over the same key.
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Orders the problems of a file by line; what is in no file comes after.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by_key(|problem| match &problem.origin {
            Origin::File { line, .. } => line.unwrap_or(0),
            _ => usize::MAX,
        });
    }

    /// `Ok` if there is nothing wrong.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}
