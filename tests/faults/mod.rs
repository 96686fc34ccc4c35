//! What goes wrong: clients that send what they should not or more than they should, crashes, disks that
//! are full, slow or damaged. What must not come of it.

use crate::harness::Case;

mod absent;
mod crash;
mod excess;
mod formats;
mod full_disk;
mod garbage;
mod hasty;
mod overload;
mod segments;
mod slow_disk;
mod store_files;

pub fn cases() -> Vec<Case> {
    [
        crash::cases,
        crash::proof::cases,
        excess::cases,
        formats::cases,
        full_disk::cases,
        garbage::cases,
        hasty::cases,
        overload::cases,
        slow_disk::cases,
        store_files::cases,
    ]
    .into_iter()
    .flat_map(|cases| cases())
    .collect()
}
