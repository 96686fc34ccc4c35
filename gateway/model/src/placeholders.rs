/// A text with `${clientid}` and `${username}` in it, filled in for each client; with `$1`, `$2` too
/// where a pattern has groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholders {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    ClientId,
    Username,
    Group(usize),
}

/// Why a text does not read as one with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    #[error("${{{0}}} is no placeholder; there are ${{clientid}} and ${{username}}")]
    Unknown(String),
    #[error("${{ is not closed")]
    Unclosed,
    #[error("${0} is a group that the pattern does not have")]
    Group(usize),
}

/// Why a client's name cannot be filled in: it would change which topics the text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    #[error("the client has no user name")]
    NoUsername,
    #[error("the client identifier holds +, #, / or U+0000")]
    ClientId,
    #[error("the user name holds +, #, / or U+0000, or is empty")]
    Username,
}

impl Placeholders {
    /// Parses a text whose only placeholders are those of the client.
    pub fn parse(text: &str) -> Result<Self, PlaceholderError> {
        Self::parse_parts(text, None)
    }

    /// Parses a text in which `$1` to `$N` are the groups of a pattern.
    pub fn parse_with_groups(text: &str, groups: usize) -> Result<Self, PlaceholderError> {
        Self::parse_parts(text, Some(groups))
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether every client gets the same text (for the same groups).
    pub fn is_same_for_all(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::ClientId | Part::Username))
    }

    /// Whether the names of a client can stand in it.
    pub fn check(&self, client_id: &str, username: Option<&str>) -> Result<(), FillError> {
        self.parts.iter().try_for_each(|part| match part {
            Part::ClientId if !is_level(client_id) => Err(FillError::ClientId),
            Part::Username => match username {
                Some(name) if is_level(name) => Ok(()),
                Some(_) => Err(FillError::Username),
                None => Err(FillError::NoUsername),
            },
            _ => Ok(()),
        })
    }

    /// Whether `text` is what [`Self::fill`] makes of it with empty groups, without making it.
    pub fn is(&self, client_id: &str, username: Option<&str>, text: &str) -> bool {
        let rest = self.parts.iter().try_fold(text, |rest, part| match part {
            Part::Text(text) => rest.strip_prefix(&**text),
            Part::ClientId => rest.strip_prefix(client_id),
            Part::Username => rest.strip_prefix(username.unwrap_or_default()),
            Part::Group(_) => Some(rest),
        });
        rest == Some("") && self.check(client_id, username).is_ok()
    }

    /// The text for a client; its names must be one level of a topic each.
    pub fn fill<'g>(
        &self,
        client_id: &str,
        username: Option<&str>,
        group: impl Fn(usize) -> &'g str,
    ) -> Result<String, FillError> {
        self.check(client_id, username)?;
        let mut filled = String::with_capacity(self.text.len() + client_id.len());
        for part in &self.parts {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::ClientId => client_id,
                Part::Username => username.unwrap_or_default(),
                Part::Group(number) => group(*number),
            });
        }
        Ok(filled)
    }

    fn parse_parts(text: &str, groups: Option<usize>) -> Result<Self, PlaceholderError> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut plain = String::new();
        while let Some(dollar) = rest.find('$') {
            plain.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (part, length) = if let Some(inside) = after.strip_prefix('{') {
                let end = inside.find('}').ok_or(PlaceholderError::Unclosed)?;
                let part = match &inside[..end] {
                    "clientid" => Part::ClientId,
                    "username" => Part::Username,
                    other => return Err(PlaceholderError::Unknown(other.to_owned())),
                };
                (part, end + 2)
            } else if let (Some(groups), 1..) = (groups, digits) {
                let number = after[..digits].parse().unwrap_or(usize::MAX);
                if number > groups {
                    return Err(PlaceholderError::Group(number));
                }
                (Part::Group(number), digits)
            } else {
                plain.push('$');
                rest = after;
                continue;
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(part);
            rest = &after[length..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }
}

/// A name with more in it could reach beyond its place in a topic.
fn is_level(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#', '/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str, client_id: &str, username: Option<&str>) -> Result<String, FillError> {
        Placeholders::parse(text).unwrap().fill(client_id, username, |_| "")
    }

    #[test]
    fn names_are_filled_in() {
        assert_eq!(fill("a/${clientid}/${username}$/b", "c", Some("u")), Ok("a/c/u$/b".to_owned()));
        assert_eq!(fill("$5", "c", None), Ok("$5".to_owned()));
        assert_eq!(fill("", "c", None), Ok(String::new()));
        assert!(Placeholders::parse("a/b").unwrap().is_same_for_all());
        assert!(!Placeholders::parse("a/${username}").unwrap().is_same_for_all());
    }

    #[test]
    fn names_that_reach_beyond_their_level_are_not() {
        for bad in ["a/b", "+", "a#", "\0", ""] {
            assert_eq!(fill("${clientid}", bad, None), Err(FillError::ClientId), "{bad:?}");
            assert_eq!(fill("${username}", "c", Some(bad)), Err(FillError::Username), "{bad:?}");
        }
        assert_eq!(fill("${username}", "c", None), Err(FillError::NoUsername));
        assert_eq!(fill("a", "a/b", None), Ok("a".to_owned()), "what is not used may be anything");
    }

    #[test]
    fn a_text_is_compared_without_being_made() {
        let text = Placeholders::parse("a-${clientid}.${username}").unwrap();
        assert!(text.is("c", Some("u"), "a-c.u"));
        assert!(!text.is("c", Some("u"), "a-c.uu") && !text.is("c", Some("u"), "a-c."));
        assert!(!text.is("c", None, "a-c.") && !text.is("+", Some("u"), "a-+.u"));
    }

    #[test]
    fn groups_stand_where_they_are_named() {
        let text = Placeholders::parse_with_groups("x/$2/$1${clientid}", 2).unwrap();
        assert_eq!(text.fill("c", None, |number| ["", "one", "two"][number]).unwrap(), "x/two/onec");
        assert_eq!(Placeholders::parse_with_groups("$3", 2), Err(PlaceholderError::Group(3)));
    }

    #[test]
    fn a_mistake_is_named() {
        assert_eq!(Placeholders::parse("${client}"), Err(PlaceholderError::Unknown("client".to_owned())));
        assert_eq!(Placeholders::parse("a${"), Err(PlaceholderError::Unclosed));
        let text = PlaceholderError::Unknown("ip".to_owned()).to_string();
        assert_eq!(text, "${ip} is no placeholder; there are ${clientid} and ${username}");
    }
}
