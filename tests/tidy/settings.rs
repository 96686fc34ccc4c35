//! Every setting that the default file shows is read by some code.

use std::collections::BTreeSet;

use crate::harness::{Outcome, World, place};
use crate::tidy::source;

crate::cases!("tidy": every_setting_of_the_default_file_is_read);

fn every_setting_of_the_default_file_is_read(_: &mut World) -> Outcome {
    let defaults = std::fs::read_to_string(place::root().join("config/tidegate.toml"))?;
    let code: String = source::rust()?
        .iter()
        .filter(|source| !source.is_test() && !source.path.starts_with("tests/"))
        .map(|source| source.code())
        .collect();
    let words: BTreeSet<&str> = code.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let unread = keys(&defaults).filter(|key| !words.contains(key)).map(str::to_owned).collect();
    source::none("no code reads the setting", unread)
}

/// Keys that stand in the file, also those of a commented example.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (key, value) = line.trim_start_matches(['#', ' ']).split_once('=')?;
        let key = key.trim();
        let plain =
            !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let valued = value
            .trim_start()
            .starts_with(|c: char| "\"[{-".contains(c) || c.is_ascii_digit() || c == 't' || c == 'f');
        (plain && valued).then_some(key)
    })
}
