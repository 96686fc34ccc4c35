//! The data formats of OMA LwM2M Core 1.1 section 7.4: bytes to readings, writes to bytes.

pub mod cbor;
mod format;
pub mod json;
mod reading;
pub mod senml;
pub mod senml_cbor;
pub mod senml_json;
pub mod text;
pub mod tlv;
mod written;

pub use format::Format;
pub use reading::Reading;
pub use written::{Entry, Written};

use crate::path::PathError;
use crate::value::ValueError;

/// Why a payload is not what its format says, or cannot be put into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("the payload ends in the middle of an element")]
    Truncated,
    #[error("elements are nested too deeply")]
    TooDeep,
    #[error("elements are nested in an order that the data model does not have")]
    Nesting,
    #[error("the payload names a path outside the one that was asked for")]
    OtherPath,
    #[error("a value is too long for the format")]
    TooLong,
    #[error("not JSON: {0}")]
    Json(Box<str>),
    #[error("not CBOR that LwM2M uses")]
    Cbor,
    #[error("field {0} has the wrong type")]
    Field(&'static str),
    #[error("field {0} must be understood and is not")]
    UnknownField(Box<str>),
    #[error("a name is longer than 255 bytes")]
    NameTooLong,
    #[error("content format {0} cannot carry this")]
    Unsupported(u16),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Value(#[from] ValueError),
}
