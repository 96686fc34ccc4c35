use std::fmt::Write;
use std::path::PathBuf;
use std::{fs, io};

/// The committed figures: instructions per message, by workload.
#[derive(Debug, Default, PartialEq)]
pub struct Figures(pub Vec<Figure>);

#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub name: String,
    pub instructions: u64,
    /// What the workload is.
    pub what: String,
}

/// How a count compares with the committed one.
#[derive(Debug, PartialEq)]
pub enum Comparison {
    /// Above what is allowed.
    Dearer,
    Close,
    /// So far below that the better figure ought to be committed, or the gain could be lost unnoticed.
    Cheaper,
}

/// A count may be so much above the committed one, and below it before that is said.
const TOLERANCE_PERCENT: u64 = 10;

const HEAD: &str = "\
# Instructions per delivered message, as callgrind counts them in the gateway (README.md says how).
# `cargo bench -p tidegate-bench --bench instructions` compares, and writes this file with UPDATE=1.

";

impl Figures {
    pub fn read() -> io::Result<Self> {
        Self::parse(&fs::read_to_string(path())?).map_err(io::Error::other)
    }

    pub fn write(&self) -> io::Result<()> {
        fs::write(path(), self.to_text())
    }

    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|figure| figure.name == name).map(|figure| figure.instructions)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let figure = |line: &str| {
            let (name, rest) = line.split_once(" = ")?;
            let (instructions, what) = rest.split_once(" # ")?;
            let instructions = instructions.trim().parse().ok()?;
            Some(Figure { name: name.into(), instructions, what: what.into() })
        };
        let figures = lines.map(|line| figure(line).ok_or_else(|| format!("no figure: {line}")));
        figures.collect::<Result<_, _>>().map(Self)
    }

    fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for Figure { name, instructions, what } in &self.0 {
            writeln!(text, "{name} = {instructions} # {what}").expect("a string takes everything");
        }
        text
    }
}

impl Comparison {
    pub fn of(counted: u64, committed: u64) -> Self {
        if counted * 100 > committed * (100 + TOLERANCE_PERCENT) {
            Self::Dearer
        } else if counted * 100 < committed * (100 - TOLERANCE_PERCENT) {
            Self::Cheaper
        } else {
            Self::Close
        }
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.toml")
}
