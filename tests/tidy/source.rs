//! The files of the source tree.

use std::path::{Path, PathBuf};

use crate::harness::{Outcome, Stop, place};

/// A text file that is kept in the repository.
pub struct Source {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
}

/// Every text file that git keeps or would keep, in a fixed order.
pub fn all() -> Outcome<Vec<Source>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(place::root())
        .output()?;
    if !output.status.success() {
        return Err(Stop::Failed("git ls-files failed".into()));
    }
    let mut paths: Vec<String> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    let root = place::root();
    let read = |path: String| {
        let text = std::fs::read_to_string(root.join(&path)).ok()?;
        Some(Source { path, text })
    };
    Ok(paths.into_iter().filter_map(read).collect())
}

pub fn rust() -> Outcome<Vec<Source>> {
    Ok(all()?.into_iter().filter(|source| source.path.ends_with(".rs")).collect())
}

impl Source {
    /// What is left when the tests at the bottom and line comments are taken away.
    pub fn code(&self) -> String {
        let mut code = String::new();
        let mut lines = self.text.lines().peekable();
        while let Some(line) = lines.next() {
            if line.trim() == "#[cfg(test)]"
                && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'))
            {
                break;
            }
            code.push_str(line.split("//").next().unwrap_or_default());
            code.push('\n');
        }
        code
    }

    /// Whether it is a test as a whole: a module or folder of tests.
    pub fn is_test(&self) -> bool {
        let name = Path::new(&self.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        name == "tests" || name.ends_with("_tests") || self.path.split('/').any(|part| part == "tests")
    }
}

/// The folders of all crates, from the root.
pub fn crates() -> Outcome<Vec<PathBuf>> {
    let manifests = all()?.into_iter().filter(|source| source.path.ends_with("/Cargo.toml"));
    Ok(manifests.filter_map(|source| Some(Path::new(&source.path).parent()?.to_owned())).collect())
}

/// Turns findings into a failure that lists them all.
pub fn none(rule: &str, findings: Vec<String>) -> Outcome {
    if findings.is_empty() {
        return Ok(());
    }
    Err(Stop::Failed(format!("{rule}:\n    {}", findings.join("\n    "))))
}
