//! The bus by behaviour, with given times.
//!
//! `scene.rs` is a bus and its clock; each file after it is named for what it checks. A scene that
//! ends checks that every copy is accounted for.

mod delayed;
mod drops;
mod durable;
mod exclusive;
mod flight;
mod overdue;
mod priorities;
mod queue;
mod redistribution;
mod retained;
mod routing;
mod scene;
mod sessions;
mod sharing;
mod simulation;
mod threads;
mod wills;
