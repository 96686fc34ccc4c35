use std::fmt;

/// Why a client may not publish on a topic, or read a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Publishing on topics that begin with `$` is the gateway's.
    Reserved,
    /// Without a rule, topics that begin with `$` are read from this machine only.
    Remote,
    /// The rule in this line of `access.acl_file`.
    Rule {
        line: u32,
    },
    Unmatched,
}

impl Denial {
    pub const NAMES: [&'static str; 4] = ["reserved", "remote", "rule", "unmatched"];

    /// As a metric label and a position in [`Self::NAMES`].
    pub fn index(self) -> usize {
        match self {
            Self::Reserved => 0,
            Self::Remote => 1,
            Self::Rule { .. } => 2,
            Self::Unmatched => 3,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved => f.write_str("topics that begin with $ belong to the gateway"),
            Self::Remote => f.write_str(
                "topics that begin with $ may be read from this machine only; see access.acl_file",
            ),
            Self::Rule { line } => write!(f, "the rule in line {line} of access.acl_file"),
            Self::Unmatched => f.write_str("no rule matched (access.acl_default)"),
        }
    }
}
