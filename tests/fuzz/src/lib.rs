//! What the fuzz targets check: one function for each.

pub mod mqtt;
