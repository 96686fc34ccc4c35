use std::fmt;
use std::str::FromStr;

/// Where something lives on a device: object, object instance, resource, resource instance.
///
/// Laws: at most four identifiers, each 0 to 65534 (OMA LwM2M Core 1.1 section 7.2: 65535 is
/// reserved), in decimal without signs. The empty path is the root, written `/`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Unused places hold 0, so that derived equality and order hold.
    ids: [u16; 4],
    len: u8,
}

/// Why some text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path has at most four identifiers")]
    TooDeep,
    #[error("an identifier is a number from 0 to 65534")]
    NotAnIdentifier,
}

impl Path {
    pub const ROOT: Path = Path { ids: [0; 4], len: 0 };
    /// The reserved identifier (OMA LwM2M Core 1.1 section 7.2).
    const RESERVED: u16 = u16::MAX;

    /// Parses `/3/0/9`; the leading slash may be missing, a trailing one is ignored.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::ROOT);
        }
        text.split('/').try_fold(Self::ROOT, |path, segment| path.child(parse_identifier(segment)?))
    }

    /// The path one level below.
    pub fn child(self, id: u16) -> Result<Self, PathError> {
        if id == Self::RESERVED {
            return Err(PathError::NotAnIdentifier);
        }
        let mut ids = self.ids;
        *ids.get_mut(usize::from(self.len)).ok_or(PathError::TooDeep)? = id;
        Ok(Self { ids, len: self.len + 1 })
    }

    /// How many identifiers: 0 for the root, 4 for a resource instance.
    pub fn depth(self) -> usize {
        usize::from(self.len)
    }

    pub fn object(self) -> Option<u16> {
        self.id_at(0)
    }

    pub fn instance(self) -> Option<u16> {
        self.id_at(1)
    }

    pub fn resource(self) -> Option<u16> {
        self.id_at(2)
    }

    pub fn resource_instance(self) -> Option<u16> {
        self.id_at(3)
    }

    pub fn ids(&self) -> &[u16] {
        self.ids.get(..self.depth()).unwrap_or(&[])
    }

    /// Whether `self` is `other` or lies below it.
    pub fn is_within(self, other: Path) -> bool {
        self.ids().starts_with(other.ids())
    }

    fn id_at(self, place: usize) -> Option<u16> {
        self.ids().get(place).copied()
    }
}

/// Digits only: `u16::from_str` would take a leading `+`.
fn parse_identifier(segment: &str) -> Result<u16, PathError> {
    if segment.is_empty() || !segment.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PathError::NotAnIdentifier);
    }
    segment.parse().map_err(|_| PathError::NotAnIdentifier)
}

impl FromStr for Path {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len == 0 {
            return f.write_str("/");
        }
        self.ids().iter().try_for_each(|id| write!(f, "/{id}"))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws() {
        let path = Path::parse("/3/0/6/1").unwrap();
        assert_eq!(path.ids(), [3, 0, 6, 1]);
        assert_eq!((path.object(), path.resource_instance()), (Some(3), Some(1)));
        assert_eq!(path.to_string(), "/3/0/6/1");
        assert_eq!(Path::parse("3/0"), Path::parse("/3/0/"));
        assert_eq!(Path::parse("/").map(Path::depth), Ok(0));
        assert_eq!(Path::parse("/1/2/3/4/5"), Err(PathError::TooDeep));
        for bad in ["/65535", "/65536", "/x", "/3//0", "/+3", "/-1", "/3/ 0", "//3"] {
            assert_eq!(Path::parse(bad), Err(PathError::NotAnIdentifier), "{bad}");
        }
        assert!(path.is_within(Path::parse("/3/0").unwrap()) && path.is_within(Path::ROOT));
        assert!(!path.is_within(Path::parse("/3/1").unwrap()));
    }
}
