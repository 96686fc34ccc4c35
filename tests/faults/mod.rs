//! What no client should send, and what must not come of it.

use crate::harness::Case;

mod crash;
mod excess;
mod garbage;
mod overload;

pub fn cases() -> Vec<Case> {
    [crash::cases, crash::proof::cases, excess::cases, garbage::cases, overload::cases]
        .into_iter()
        .flat_map(|cases| cases())
        .collect()
}
