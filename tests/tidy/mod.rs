//! The rules of the source tree, as tests. `DESIGN` names them; ARCHITECTURE.md gives the reasons.

mod arrows;
mod drops;
mod files;
mod purity;
mod settings;
mod source;
mod words;

use crate::harness::Case;

pub fn cases() -> Vec<Case> {
    [arrows::cases, drops::cases, purity::cases, files::cases, settings::cases, words::cases]
        .into_iter()
        .flat_map(|cases| cases())
        .collect()
}
