//! The template language that every bridge's configuration speaks: text with variables of a message.
//!
//! ```text
//! ${topic}         the whole topic            ${payload}      the payload, byte for byte
//! ${topic[2]}      its third level, from 0    ${payload.a.b}  a field of a JSON payload (a number
//! ${clientid}      who published it                           steps into an array: ${payload.a.0})
//! ${qos}           0, 1 or 2                  ${timestamp}    acceptance, milliseconds since 1970
//! ${retain}        true or false              ${content_type} the payload's media type
//! ${user.NAME}     a user property            $${             the two characters ${
//! ```
//!
//! A template is parsed once, when the configuration is read; a mistake names the template and the
//! position. Rendering cannot fail: what a message does not have renders as nothing.
//!
//! It is not an expression language: no functions, no conditions, no loops.
//!
//! Read `template.rs` for the syntax, `view.rs` for what the variables mean.

mod template;
mod view;

pub use template::{Template, TemplateError};
pub use view::View;
