use crate::secret_bytes;

/// client-first-message (RFC 5802 section 7).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFirst<'a> {
    /// `n,,` or `y,,`, as it has to come back in the last message.
    pub(crate) header: &'a str,
    /// What follows the header.
    pub(crate) bare: &'a str,
    pub(crate) username: String,
    pub(crate) nonce: &'a str,
}

/// client-final-message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientFinal<'a> {
    pub(crate) without_proof: &'a str,
    pub(crate) header: Vec<u8>,
    pub(crate) nonce: &'a str,
    pub(crate) proof: Vec<u8>,
}

/// Why a message is not what the standard says, for the client to read.
pub(crate) type Malformed = &'static str;

/// A nonce is a few dozen characters; whoever sends more wants us to remember it.
const NONCE_BYTES_MAX: usize = 256;

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(data).map_err(|_| "the SCRAM message is not UTF-8")?;
        let mut fields = text.splitn(3, ',');
        let (binding, other_identity, bare) = match (fields.next(), fields.next(), fields.next()) {
            (Some(binding), Some(other_identity), Some(bare)) => (binding, other_identity, bare),
            _ => return Err("the SCRAM message is not a client-first-message"),
        };
        if binding.starts_with("p=") {
            return Err("channel binding is not supported; use SCRAM-SHA-256 without it");
        }
        if !matches!(binding, "n" | "y") {
            return Err("the SCRAM message begins with no channel binding flag");
        }
        if !other_identity.is_empty() {
            return Err("acting for another user (a=) is not supported");
        }
        let mut attributes = bare.split(',');
        let (name, nonce) = (attributes.next().unwrap_or_default(), attributes.next().unwrap_or_default());
        if name.starts_with("m=") {
            return Err("the SCRAM message asks for an extension that is not supported");
        }
        let name = name.strip_prefix("n=").ok_or("the SCRAM message names no user")?;
        let nonce = nonce.strip_prefix("r=").filter(|nonce| is_nonce(nonce));
        Ok(Self {
            header: &text[..text.len() - bare.len()],
            bare,
            username: unescape(name).ok_or("the user name of the SCRAM message is malformed")?,
            nonce: nonce.ok_or("the SCRAM message has no legal nonce")?,
        })
    }
}

impl<'a> ClientFinal<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        const NOT_FINAL: Malformed = "the SCRAM message is not a client-final-message";
        let text = std::str::from_utf8(data).map_err(|_| NOT_FINAL)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(NOT_FINAL)?;
        let mut attributes = without_proof.split(',');
        let header = attributes.next().and_then(|text| text.strip_prefix("c=")).ok_or(NOT_FINAL)?;
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r=")).ok_or(NOT_FINAL)?;
        Ok(Self {
            without_proof,
            header: secret_bytes::decode(header).ok_or(NOT_FINAL)?,
            nonce,
            proof: secret_bytes::decode(proof).ok_or(NOT_FINAL)?,
        })
    }
}

fn is_nonce(nonce: &str) -> bool {
    // "printable": visible ASCII without the comma.
    (1..=NONCE_BYTES_MAX).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `=2C` is a comma and `=3D` an equals sign; control characters are what SASLprep prohibits among
/// ASCII (RFC 4013 section 2.3). Other characters are taken as they are.
fn unescape(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut unescaped = pieces.next()?.to_owned();
    for piece in pieces {
        let (character, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        unescaped.push(character);
        unescaped.push_str(rest);
    }
    let is_legal = !unescaped.is_empty() && !unescaped.contains(|c: char| c.is_ascii_control());
    is_legal.then_some(unescaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message() {
        let first = ClientFirst::parse(b"y,,n=a=2Cb=3Dc,r=abc,x=ext").unwrap();
        assert_eq!((first.header, first.bare), ("y,,", "n=a=2Cb=3Dc,r=abc,x=ext"));
        assert_eq!((first.username.as_str(), first.nonce), ("a,b=c", "abc"));
        for bad in [
            "",
            "n",
            "n,,",
            "n,,n=a",
            "n,,n=a,r=",
            "n,,n=,r=x",
            "n,,n=a=2c,r=x",
            "n,,n=a\u{7},r=x",
            "n,,n=a,r=x y",
            "n,a=b,n=a,r=x",
            "n,,m=1,n=a,r=x",
            "p=tls-unique,,n=a,r=x",
            "x,,n=a,r=x",
        ] {
            assert!(ClientFirst::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(ClientFirst::parse(b"n,,n=\xff,r=x").is_err());
        assert!(ClientFirst::parse(format!("n,,n=a,r={}", "x".repeat(257)).as_bytes()).is_err());
    }

    #[test]
    fn the_final_message() {
        let last = ClientFinal::parse(b"c=biws,r=abc,x=ext,p=AAAA").unwrap();
        assert_eq!((last.header.as_slice(), last.nonce), (&b"n,,"[..], "abc"));
        assert_eq!((last.without_proof, last.proof.len()), ("c=biws,r=abc,x=ext", 3));
        for bad in ["", "c=biws", "c=biws,r=x", "r=x,c=biws,p=AAAA", "c=biws,r=x,p=%", "c=%,r=x,p=AAAA"] {
            assert!(ClientFinal::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
