//! A named case and how it can end.

use crate::harness::World;

/// One thing that a user does, or one rule.
pub struct Case {
    pub name: &'static str,
    pub run: fn(&mut World) -> Outcome,
}

/// Why a case ended early.
#[derive(Debug)]
pub enum Stop {
    Failed(String),
    /// Something that is not ours is missing on this machine; the text names it.
    Skipped(String),
}

pub type Outcome<T = ()> = Result<T, Stop>;

impl<E: std::error::Error> From<E> for Stop {
    #[track_caller]
    fn from(error: E) -> Self {
        let place = std::panic::Location::caller();
        Self::Failed(format!("{error} ({}:{})", place.file(), place.line()))
    }
}

/// Makes the list of a module's cases: the function's path is the case's name.
#[macro_export]
macro_rules! cases {
    ($area:literal: $($name:ident),+ $(,)?) => {
        pub fn cases() -> Vec<$crate::harness::Case> {
            vec![$($crate::harness::Case { name: concat!($area, "::", stringify!($name)), run: $name }),+]
        }
    };
}
