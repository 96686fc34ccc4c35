//! Starting programs, waiting for what they say, and counting what became of it.

pub mod case;
pub mod certificates;
pub mod coap;
pub mod gateway;
pub mod http;
pub mod kafka;
pub mod lwm2m;
pub mod mosquitto;
pub mod mqtt;
pub mod place;
pub mod process;
pub mod random;
pub mod raw;
pub mod scram;
pub mod suite;
pub mod unreliable;
pub mod world;

pub use case::{Case, Outcome, Stop};
pub use gateway::Gateway;
pub use process::Process;
pub use world::World;

/// Ends the case as failed unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::harness::Stop::Failed(format!("{} ({}:{})", format_args!($($text)*), file!(), line!())));
        }
    };
}

/// Ends the case as failed unless both are equal.
#[macro_export]
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($text:tt)*) => {
        match (&$left, &$right) {
            (left, right) => {
                $crate::ensure!(left == right, "{}: got {left:?}, expected {right:?}", format_args!($($text)*));
            }
        }
    };
}
