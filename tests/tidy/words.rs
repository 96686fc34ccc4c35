//! What may not be written.

use crate::harness::{Outcome, World};
use crate::tidy::source;

crate::cases!("tidy": nothing_is_put_off, no_machine_is_named, documents_do_not_boast);

/// This file and the flows that check for such words have to name them.
const HERE: &str = "tests/tidy/";

fn nothing_is_put_off(_: &mut World) -> Outcome {
    let marks = ["TODO", "FIXME", "XXX", "#[ignore", "unimplemented!", "todo!("];
    find("unfinished work", &marks, |path| {
        path.ends_with(".rs") || is_document(path) || path.ends_with(".toml")
    })
}

fn no_machine_is_named(_: &mut World) -> Outcome {
    let folders = ["/work/", "/root/", "/farm/", "/home/"];
    find("a folder of one machine", &folders, |path| !path.ends_with("Cargo.lock"))?;
    let registries = [
        "crates.io/",
        "registry.npmjs",
        "pypi.org",
        "repo.maven",
        "repo1.maven",
        "deb.debian",
        "proxy.golang",
    ];
    find("the host of a package registry", &registries, |path| !path.ends_with("Cargo.lock"))
}

fn documents_do_not_boast(_: &mut World) -> Outcome {
    let words =
        ["robust", "seamless", "blazing", "comprehensive", "world-class", "cutting-edge", "state-of-the-art"];
    find("filler", &words, is_document)
}

fn is_document(path: &str) -> bool {
    path.ends_with(".md") || path.ends_with(".html")
}

fn find(rule: &str, words: &[&str], of: impl Fn(&str) -> bool) -> Outcome {
    let mut findings = Vec::new();
    for source in source::all()?.iter().filter(|source| of(&source.path) && !source.path.starts_with(HERE)) {
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            let found = words.iter().find(|word| line.contains(*word) || lower.contains(*word));
            findings.extend(found.map(|word| format!("{}:{}: {word}", source.path, number + 1)));
        }
    }
    source::none(rule, findings)
}
