//! (draft)
pub mod codec;
pub mod objects;
mod path;
mod value;
pub use path::{Path, PathError};
pub use value::{Kind, Value, ValueError};
