//! Which statement has which test.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use crate::Version;

/// A test, and the statements it is for besides the one it is named by.
pub struct Test {
    pub name: &'static str,
    pub module: &'static str,
    pub also: &'static [&'static str],
}

/// The tests of a module: `NAME [also "x.y.z-n", ...]: call`. Its name says version and statement.
macro_rules! conformance {
    ($($name:ident $(also $($also:literal),+)? : $call:expr;)+) => {
        pub const TESTS: &[$crate::registry::Test] = &[$(
            $crate::registry::Test { name: stringify!($name), module: module_path!(), also: &[$($($also),+)?] }
        ),+];

        mod run {
            #[allow(unused_imports)]
            use super::*;
            #[allow(unused_imports)]
            use $crate::Version::{V5, V311};
            $(
                #[test]
                fn $name() {
                    $call;
                }
            )+
        }
    };
}

fn tests() -> impl Iterator<Item = &'static Test> {
    [
        crate::acknowledge::TESTS,
        crate::authenticate::TESTS,
        crate::capability::TESTS,
        crate::connack::TESTS,
        crate::connect::TESTS,
        crate::deliver::TESTS,
        crate::flow::TESTS,
        crate::format::TESTS,
        crate::goodbye::TESTS,
        crate::publish::TESTS,
        crate::qos::TESTS,
        crate::retain::TESTS,
        crate::session::TESTS,
        crate::shared::TESTS,
        crate::subscribe::TESTS,
        crate::topics::TESTS,
        crate::unsubscribe::TESTS,
        crate::websocket::TESTS,
        crate::will::TESTS,
    ]
    .into_iter()
    .flatten()
}

/// A line of a list of statements.
struct Statement {
    version: Version,
    identifier: &'static str,
    binds: &'static str,
    text: &'static str,
    reason: Option<&'static str>,
}

fn statements() -> Vec<Statement> {
    let lists = [
        (Version::V5, include_str!("statements-5.0.txt")),
        (Version::V311, include_str!("statements-3.1.1.txt")),
    ];
    let line = |version: Version, line: &'static str| {
        let fields: Vec<&str> = line.split(" | ").collect();
        let (reason, fields) = match fields[..] {
            [.., reason] if fields.len() == 4 => (Some(reason), &fields[..3]),
            _ => (None, &fields[..]),
        };
        let [identifier, binds @ ("server" | "client" | "both"), text] = fields[..] else {
            panic!("not a statement: {line}")
        };
        Statement { version, identifier, binds, text, reason }
    };
    let of = |(version, list): (Version, &'static str)| {
        list.lines().filter(|line| !line.starts_with('#')).map(move |text| line(version, text))
    };
    lists.into_iter().flat_map(of).collect()
}

/// The statements a test is for.
fn statements_of(test: &Test) -> (Version, Vec<String>) {
    let (version, rest) = match test.name.split_once('_') {
        Some(("mqtt5", rest)) => (Version::V5, rest),
        Some(("mqtt311", rest)) => (Version::V311, rest),
        _ => panic!("{}: a test is named mqtt5_... or mqtt311_...", test.name),
    };
    let numbers: Vec<&str> = rest.split('_').take_while(|part| part.parse::<u32>().is_ok()).collect();
    let [chapter, section, subsection, number] = numbers[..] else {
        panic!("{}: a test is named by its statement, as mqtt5_3_1_2_22_...", test.name)
    };
    let own = format!("{chapter}.{section}.{subsection}-{number}");
    let also = test.also.iter().map(|also| (*also).to_owned());
    (version, std::iter::once(own).chain(also).map(|number| format!("MQTT-{number}")).collect())
}

fn tests_by_statement() -> BTreeMap<(&'static str, String), Vec<String>> {
    let mut by_statement: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for test in tests() {
        let (version, identifiers) = statements_of(test);
        let module = test.module.rsplit("::").next().unwrap_or_default();
        for identifier in identifiers {
            by_statement
                .entry((name(version), identifier))
                .or_default()
                .push(format!("{module}::{}", test.name));
        }
    }
    by_statement
}

fn name(version: Version) -> &'static str {
    match version {
        Version::V5 => "MQTT 5.0",
        Version::V311 => "MQTT 3.1.1",
        Version::V31 => "MQTT 3.1",
    }
}

#[test]
fn every_statement_has_a_test_or_a_reason() {
    let mut findings = Vec::new();
    let mut tests = tests_by_statement();
    for statement in statements() {
        let key = (name(statement.version), statement.identifier.to_owned());
        match (tests.remove(&key), statement.reason) {
            (None, None) => findings.push(format!("{} {}: neither a test nor a reason", key.0, key.1)),
            (Some(tests), Some(_)) => findings.push(format!("{} {}: a reason, and {tests:?}", key.0, key.1)),
            _ => {}
        }
    }
    findings.extend(tests.into_iter().map(|(key, tests)| format!("{} has no {}: {tests:?}", key.0, key.1)));
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

/// Appendix B of both standards.
#[test]
fn the_lists_are_whole() {
    let count = |version| statements().iter().filter(|statement| statement.version == version).count();
    assert_eq!((count(Version::V5), count(Version::V311)), (251, 141));
}

#[test]
fn the_table_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance/README.md");
    let table = table();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &table).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == table,
        "tests/conformance/README.md is out of date: UPDATE=1 cargo test -p tidegate-tests --test conformance"
    );
}

fn table() -> String {
    let tests = tests_by_statement();
    let mut text = String::from(
        "# Conformance\n\n\
         Made by `UPDATE=1 cargo test -p tidegate-tests --test conformance`; do not edit. Every normative\n\
         statement of both standards, in our own words, with the tests that are named by it, or why there\n\
         is none. `main.rs` says how the tests work.\n\n\
         | | statements | with tests | without |\n| --- | --- | --- | --- |\n",
    );
    let statements = statements();
    for version in [Version::V5, Version::V311] {
        let all = statements.iter().filter(|statement| statement.version == version);
        let (all, without) =
            (all.clone().count(), all.filter(|statement| statement.reason.is_some()).count());
        let _ = writeln!(text, "| {} | {all} | {} | {without} |", name(version), all - without);
    }
    for version in [Version::V5, Version::V311] {
        let _ = write!(
            text,
            "\n## {}\n\n| statement | binds | demands | test |\n| --- | --- | --- | --- |\n",
            name(version)
        );
        for statement in statements.iter().filter(|statement| statement.version == version) {
            let Statement { identifier, binds, text: demands, .. } = statement;
            let tests = tests.get(&(name(version), (*identifier).to_owned()));
            let proof = match (tests, statement.reason) {
                (Some(tests), _) => {
                    tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>")
                }
                (None, reason) => format!("none: {}", reason.unwrap_or("missing")),
            };
            let _ = writeln!(text, "| {identifier} | {binds} | {demands} | {proof} |");
        }
    }
    text
}
