use crate::path::Path;
use crate::value::Value;

/// One value of a device, as a payload told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// A resource, or an instance of a resource.
    pub path: Path,
    pub value: Value,
    /// When it was measured. Below 2^28 relative to now, else since 1970 (RFC 8428 section 4.5.3).
    pub seconds: Option<f64>,
}

impl Reading {
    pub fn new(path: Path, value: Value) -> Self {
        Self { path, value, seconds: None }
    }
}
