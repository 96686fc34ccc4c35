//! The rules for topics: `rules.rs` is the file as a whole and the decision, `rule.rs` one line of it,
//! `pattern.rs` a filter in it.

mod denial;
mod pattern;
mod rule;
mod rules;
mod words;

pub use denial::Denial;
pub(crate) use rules::Rules;
