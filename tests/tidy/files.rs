//! Files: not too long, not too wide, not dead.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::{Outcome, World, place};
use crate::tidy::source::{self, Source};

crate::cases!("tidy": files_are_not_too_long, documents_are_not_too_wide, no_rust_file_is_dead);

const LINES_MAX: usize = 600;
/// Of a line of prose; tables and drawings are as wide as they have to be.
const COLUMNS_MAX: usize = 130;
/// Longer files: path, a colon, the reason.
const EXCEPTIONS: &str = "tests/tidy/long-files.txt";

fn files_are_not_too_long(_: &mut World) -> Outcome {
    let excused = std::fs::read_to_string(place::root().join(EXCEPTIONS))?;
    let excused: Vec<(&str, &str)> = excused
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .collect();
    let mut findings = Vec::new();
    for source in source::rust()? {
        let lines = source.text.lines().count();
        let excuse = excused.iter().any(|(path, reason)| *path == source.path && !reason.trim().is_empty());
        if lines > LINES_MAX && !excuse {
            findings.push(format!("{}: {lines} lines, and no reason in {EXCEPTIONS}", source.path));
        }
        if lines <= LINES_MAX && excuse {
            findings.push(format!("{}: {lines} lines, strike it from {EXCEPTIONS}", source.path));
        }
    }
    for (path, _) in excused {
        if !place::root().join(path).is_file() {
            findings.push(format!("{path} is gone, strike it from {EXCEPTIONS}"));
        }
    }
    source::none("too long", findings)
}

fn documents_are_not_too_wide(_: &mut World) -> Outcome {
    let mut findings = Vec::new();
    for source in source::all()?.iter().filter(|source| source.path.ends_with(".md")) {
        let mut is_drawn = false;
        for (number, line) in source.text.lines().enumerate() {
            is_drawn ^= line.trim_start().starts_with("```");
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !is_drawn && !line.trim_start().starts_with('|') {
                findings.push(format!("{}:{}: {columns} columns", source.path, number + 1));
            }
        }
    }
    source::none("too wide", findings)
}

/// Every file is a crate root or is named by a `mod` of its parent.
fn no_rust_file_is_dead(_: &mut World) -> Outcome {
    let files = source::rust()?;
    let mut alive: BTreeSet<PathBuf> = BTreeSet::new();
    let mut next: Vec<PathBuf> = source::all()?
        .iter()
        .filter(|source| source.path.ends_with("Cargo.toml"))
        .flat_map(|manifest| roots(manifest, &files))
        .collect();
    while let Some(path) = next.pop() {
        if !alive.insert(path.clone()) {
            continue;
        }
        if let Some(source) = files.iter().find(|source| Path::new(&source.path) == path) {
            next.extend(children(source, &files));
        }
    }
    let dead = files.iter().filter(|source| !alive.contains(Path::new(&source.path)));
    source::none("no `mod` leads to", dead.map(|source| source.path.clone()).collect())
}

/// What cargo compiles without being told by a `mod`.
fn roots(manifest: &Source, files: &[Source]) -> Vec<PathBuf> {
    let folder = Path::new(&manifest.path).parent().unwrap_or(Path::new(""));
    let named = manifest
        .text
        .lines()
        .filter(|line| line.starts_with("path ="))
        .filter_map(|line| line.split('"').nth(1))
        .map(|path| folder.join(path));
    let found = files.iter().map(|source| PathBuf::from(&source.path)).filter(|path| {
        let Ok(inside) = path.strip_prefix(folder) else { return false };
        let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
        match parts[..] {
            ["build.rs"] | ["src", "lib.rs" | "main.rs"] => true,
            ["src", "bin", _] | ["tests" | "benches" | "examples", _] => true,
            ["src", "bin", _, "main.rs"] | ["tests" | "benches" | "examples", _, "main.rs"] => true,
            // Fuzz targets name themselves in their own manifest.
            _ => false,
        }
    });
    named.chain(found).collect()
}

/// The files that the `mod` lines of a file name.
fn children(source: &Source, files: &[Source]) -> Vec<PathBuf> {
    let path = Path::new(&source.path);
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let below = folder.join(stem);
    let mut found = Vec::new();
    let mut named = None;
    for line in source.text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            named = rest.split('"').next().map(str::to_owned);
            continue;
        }
        let Some((_, rest)) = line.split_once("mod ") else { continue };
        let Some(name) = rest.strip_suffix(';') else { continue };
        let candidates = match named.take() {
            Some(path) => vec![folder.join(path)],
            None => [folder, &below]
                .iter()
                .flat_map(|d| [d.join(format!("{name}.rs")), d.join(name).join("mod.rs")])
                .collect(),
        };
        found.extend(
            candidates.into_iter().filter(|path| files.iter().any(|file| Path::new(&file.path) == path)),
        );
    }
    found
}
