//! CoRE Link Format (RFC 6690): writing, filtering and strict parsing.

use std::fmt::Write;

/// One link: `<target>;name="value";name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// What stands between the angle brackets, unchanged.
    pub target: String,
    /// In order; a value is without its quotes and escapes.
    pub attributes: Vec<(String, Option<String>)>,
}

/// Why a text is not a link-format document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkFormatError {
    #[error("a link begins with <")]
    Target,
    #[error("a link target is not closed, or holds a character that no URI has")]
    OpenTarget,
    #[error("an attribute has no name")]
    Name,
    #[error("an attribute's value is empty or holds a character that must be quoted")]
    Value,
    #[error("a quoted value is not closed")]
    OpenQuote,
    #[error("something other than , or ; follows a link")]
    Separator,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("more links than allowed")]
    TooMany,
}

impl Link {
    pub fn new(target: impl Into<String>) -> Self {
        Self { target: target.into(), attributes: Vec::new() }
    }

    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.attributes.push((name.to_owned(), Some(value.to_string())));
        self
    }

    /// The first value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.as_deref())
    }

    /// Whether it passes a query filter `name=value` (RFC 6690 section 4.1): a trailing `*` is a
    /// prefix match; `rt`, `if`, `rel` and the like are lists of words, of which one must match.
    pub fn matches(&self, name: &str, value: &str) -> bool {
        let fits = |candidate: &str| match value.strip_suffix('*') {
            Some(prefix) => candidate.starts_with(prefix),
            None => candidate == value,
        };
        if name == "href" {
            return fits(&self.target);
        }
        let is_list = matches!(name, "rt" | "if" | "rel" | "rev" | "ct");
        self.attributes.iter().filter(|(n, _)| n == name).any(|(_, candidate)| match candidate {
            Some(candidate) => fits(candidate) || is_list && candidate.split(' ').any(fits),
            None => fits(""),
        })
    }

    fn write(&self, text: &mut String) {
        let _ = write!(text, "<{}>", self.target);
        for (name, value) in &self.attributes {
            let _ = write!(text, ";{name}");
            match value {
                None => {}
                // Numbers go bare, as RFC 6690 section 2 has them for `ct` and `sz`.
                Some(value) if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                    let _ = write!(text, "={value}");
                }
                Some(value) => {
                    text.push_str("=\"");
                    for c in value.chars() {
                        if matches!(c, '"' | '\\') {
                            text.push('\\');
                        }
                        text.push(c);
                    }
                    text.push('"');
                }
            }
        }
    }
}

/// Writes a document.
pub fn write(links: &[Link]) -> String {
    let mut text = String::new();
    for link in links {
        if !text.is_empty() {
            text.push(',');
        }
        link.write(&mut text);
    }
    text
}

/// Parses a document of at most `links_max` links.
///
/// # Errors
/// The first thing that RFC 6690 section 2 does not allow.
pub fn parse(document: &[u8], links_max: usize) -> Result<Vec<Link>, LinkFormatError> {
    let text = std::str::from_utf8(document).map_err(|_| LinkFormatError::NotUtf8)?;
    let mut links = Vec::new();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Ok(links);
    }
    loop {
        let (link, after) = parse_link(rest)?;
        if links.len() >= links_max {
            return Err(LinkFormatError::TooMany);
        }
        links.push(link);
        match after.trim_start() {
            "" => return Ok(links),
            more => rest = more.strip_prefix(',').ok_or(LinkFormatError::Separator)?.trim_start(),
        }
    }
}

fn parse_link(text: &str) -> Result<(Link, &str), LinkFormatError> {
    let inside = text.strip_prefix('<').ok_or(LinkFormatError::Target)?;
    let (target, mut rest) = inside.split_once('>').ok_or(LinkFormatError::OpenTarget)?;
    if target.contains(|c: char| c.is_control() || matches!(c, '<' | '"' | ' ')) {
        return Err(LinkFormatError::OpenTarget);
    }
    let mut link = Link::new(target);
    while let Some(after) = rest.trim_start().strip_prefix(';') {
        let after = after.trim_start();
        let name_end = after.find(|c: char| !is_name(c)).unwrap_or(after.len());
        let (name, after) = after.split_at_checked(name_end).ok_or(LinkFormatError::Name)?;
        if name.is_empty() {
            return Err(LinkFormatError::Name);
        }
        let (value, after) = match after.strip_prefix('=') {
            None => (None, after),
            Some(after) => parse_value(after).map(|(value, after)| (Some(value), after))?,
        };
        link.attributes.push((name.to_owned(), value));
        rest = after;
    }
    Ok((link, rest))
}

/// A quoted string or a token (`ptoken` of RFC 6690 section 2).
fn parse_value(text: &str) -> Result<(String, &str), LinkFormatError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c.is_control() || matches!(c, ',' | ';' | ' ' | '"' | '\\'))
            .unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).ok_or(LinkFormatError::Value)?;
        let legal = !value.is_empty() && !rest.starts_with(['"', '\\']);
        return if legal { Ok((value.to_owned(), rest)) } else { Err(LinkFormatError::Value) };
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next().ok_or(LinkFormatError::OpenQuote)? {
            '"' => return Ok((value, chars.as_str())),
            '\\' => value.push(chars.next().ok_or(LinkFormatError::OpenQuote)?),
            c => value.push(c),
        }
    }
}

/// `parmname` of RFC 5987, and the `*` of extended names.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$&+-.^_`|~*".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lwm2m_registration_parses() {
        let text = b"</>;rt=\"oma.lwm2m\";ct=\"60 110 112 11542 11544\",</1/0>,</3/0>;ver=1.2,</5>";
        let links = parse(text, 10).unwrap();
        assert_eq!(links.len(), 4);
        assert_eq!(links[0].get("rt"), Some("oma.lwm2m"));
        assert_eq!((links[2].target.as_str(), links[2].get("ver")), ("/3/0", Some("1.2")));
        assert_eq!(links[3], Link::new("/5"));
        assert_eq!(parse(text, 3), Err(LinkFormatError::TooMany));
        assert_eq!(parse(b"", 0), Ok(vec![]));
    }

    #[test]
    fn writing_and_parsing_are_inverse() {
        let links = vec![
            Link::new("/ps").with("rt", "core.ps core.ps.coll").with("ct", 40),
            Link::new("/a").with("title", "say \"hi\" \\ ,;<>").with("sz", 1024),
            Link { target: "/b".into(), attributes: vec![("obs".into(), None)] },
        ];
        let text = write(&links);
        assert!(text.starts_with("</ps>;rt=\"core.ps core.ps.coll\";ct=40,</a>"));
        assert_eq!(parse(text.as_bytes(), 10).unwrap(), links);
    }

    #[test]
    fn rfc6690_2_what_is_not_a_link_is_refused() {
        use LinkFormatError::*;
        for (text, error) in [
            ("/1", Target),
            ("</1", OpenTarget),
            ("</1 2>", OpenTarget),
            ("</1>;", Name),
            ("</1>;=2", Name),
            ("</1>;a=", Value),
            ("</1>;a=b\"c", Value),
            ("</1>;a=\"b", OpenQuote),
            ("</1>;a=\"b\\", OpenQuote),
            ("</1></2>", Separator),
            ("</1>,", Target),
            ("</1>,,</2>", Target),
        ] {
            assert_eq!(parse(text.as_bytes(), 10), Err(error), "{text}");
        }
        assert_eq!(parse(b"</\xff>", 10), Err(NotUtf8));
    }

    #[test]
    fn rfc6690_4_1_filters() {
        let link =
            Link::new("/sensors/light").with("rt", "light-lux core.sen").with("if", "sensor").with("sz", 70);
        assert!(
            link.matches("rt", "light-lux") && link.matches("rt", "core.sen") && !link.matches("rt", "core")
        );
        assert!(link.matches("rt", "light*") && link.matches("rt", "core.*") && link.matches("rt", "*"));
        assert!(link.matches("href", "/sensors/light") && link.matches("href", "/sensors*"));
        assert!(!link.matches("href", "/sensors") && link.matches("sz", "70") && !link.matches("ct", "*"));
    }
}
