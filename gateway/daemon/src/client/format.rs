use std::io::{self, Write};

use protocol_mqtt::codec::{Property, Publish};

use super::json;
use super::moment::Moment;

/// How a message is printed: texts and fields in turn. The letters are those of mosquitto_sub.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
    line_end: bool,
    /// JSON over several lines.
    pretty: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field(Field),
    /// A part of the time, by its letter in strftime(3); N is nanoseconds.
    Time(char),
}

/// `%-20.10t`: a letter, and how wide it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Field {
    letter: char,
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

const LETTERS: &str = "%t %p %x %X %l %q %r %d %m %j %J %A %C %D %E %F %P %R %S %I %U %%";

/// Enough for any screen, and a line stays a line.
const WIDTH_MAX: usize = 10_000;

impl Format {
    /// The payload alone, a line each.
    pub fn payload() -> Self {
        Self::of(vec![field('p')])
    }

    /// Topic and payload; `(null)` is an empty one, as mosquitto_sub writes it.
    pub fn verbose() -> Self {
        Self::of(vec![field('t'), Piece::Text(b" ".to_vec()), field('v')])
    }

    fn of(pieces: Vec<Piece>) -> Self {
        Self { pieces, line_end: true, pretty: false }
    }

    pub fn with_line_end(self, line_end: bool) -> Self {
        Self { line_end, ..self }
    }

    pub fn pretty(self, pretty: bool) -> Self {
        Self { pretty, ..self }
    }

    /// Parses `%t` and the like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            let piece = match (character, rest.peek()) {
                ('%', Some('%')) | ('@', Some('@')) => {
                    plain.extend(rest.next().map(|same| same as u8));
                    continue;
                }
                ('%', _) => Piece::Field(parse_field(&mut rest)?),
                ('@', Some(letter)) if Moment::knows(*letter) => Piece::Time(rest.next().unwrap_or_default()),
                ('@', _) => return Err(format!("-F: known after @: {} @@", Moment::LETTERS)),
                ('\\', _) => {
                    plain.push(escaped(rest.next())?);
                    continue;
                }
                (other, _) => {
                    plain.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self::of(pieces))
    }

    pub fn write(&self, message: &Publish<'_>, into: &mut impl Write) -> io::Result<()> {
        let now = Moment::now();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => into.write_all(text)?,
                // The common ones, without a copy.
                Piece::Field(Field { letter: 'p', width: 0, precision: None, .. }) => {
                    into.write_all(message.payload)?;
                }
                Piece::Field(field) => {
                    let bytes = value(field.letter, message, now, self.pretty);
                    field.write(bytes, into)?;
                }
                Piece::Time(letter) => into.write_all(now.part(*letter).as_bytes())?,
            }
        }
        if self.line_end { into.write_all(b"\n") } else { Ok(()) }
    }
}

impl Field {
    fn write(&self, mut bytes: Vec<u8>, into: &mut impl Write) -> io::Result<()> {
        if let Some(precision) = self.precision {
            // Of a payload in hex, its bytes are counted.
            bytes.truncate(if matches!(self.letter, 'x' | 'X') { precision * 2 } else { precision });
        }
        let missing = self.width.saturating_sub(bytes.len());
        let padding = vec![if self.zeros && !self.left { b'0' } else { b' ' }; missing];
        if !self.left {
            into.write_all(&padding)?;
        }
        into.write_all(&bytes)?;
        if self.left { into.write_all(&padding) } else { Ok(()) }
    }
}

fn field(letter: char) -> Piece {
    Piece::Field(Field { letter, ..Field::default() })
}

/// What follows a percent sign.
fn parse_field(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Field, String> {
    let mut field = Field::default();
    while let Some(flag) = rest.next_if(|next| matches!(next, '-' | '0')) {
        field.left |= flag == '-';
        field.zeros |= flag == '0';
    }
    field.width = parse_number(rest)?.unwrap_or(0);
    if rest.next_if_eq(&'.').is_some() {
        field.precision = Some(parse_number(rest)?.unwrap_or(0));
    }
    field.letter = match rest.next() {
        Some(letter) if letter.is_alphabetic() && LETTERS.contains(&format!("%{letter} ")) => letter,
        Some(other) => return Err(format!("-F: unknown %{other}; known: {LETTERS}")),
        None => return Err("-F: a percent sign at the end; write %%".to_owned()),
    };
    Ok(field)
}

fn parse_number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, String> {
    let mut number = None;
    while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
        rest.next();
        let value = number.unwrap_or(0) * 10 + digit as usize;
        if value > WIDTH_MAX {
            return Err(format!("-F: a width is {WIDTH_MAX} at most"));
        }
        number = Some(value);
    }
    Ok(number)
}

fn escaped(character: Option<char>) -> Result<u8, String> {
    Ok(match character {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('0') => 0,
        Some('a') => 7,
        Some('v') => 11,
        Some('e') => 27,
        Some('\\') => b'\\',
        _ => return Err("-F: known after a backslash: \\n \\t \\r \\0 \\a \\e \\v \\\\".to_owned()),
    })
}

fn value(letter: char, message: &Publish<'_>, now: Moment, pretty: bool) -> Vec<u8> {
    let text = match letter {
        't' => return message.topic.to_vec(),
        'v' if message.payload.is_empty() => return b"(null)".to_vec(),
        'p' | 'v' => return message.payload.to_vec(),
        'x' => hex(message.payload),
        'X' => hex(message.payload).to_uppercase(),
        'l' => message.payload.len().to_string(),
        'q' => (message.qos as u8).to_string(),
        'r' => u8::from(message.retain).to_string(),
        'd' => u8::from(message.dup).to_string(),
        'm' => message.packet_id.map_or(0, |id| id.get()).to_string(),
        'j' => json::of(message, now, false, pretty),
        'J' => json::of(message, now, true, pretty),
        'I' => now.iso_8601(),
        'U' => now.since_1970(),
        _ => return properties(letter, message),
    };
    text.into_bytes()
}

/// All values of one property, with a space between; nothing if it is not there.
fn properties(letter: char, message: &Publish<'_>) -> Vec<u8> {
    let values = message.properties.iter().filter_map(|property| match (letter, property) {
        ('A', Property::TopicAlias(alias)) => Some(alias.to_string().into_bytes()),
        ('C', Property::ContentType(text)) | ('R', Property::ResponseTopic(text)) => {
            Some(text.as_bytes().to_vec())
        }
        ('D', Property::CorrelationData(bytes)) => Some(bytes.to_vec()),
        ('E', Property::MessageExpirySecs(secs)) => Some(secs.to_string().into_bytes()),
        ('F', Property::PayloadFormat(format)) => Some((format as u8).to_string().into_bytes()),
        ('S', Property::SubscriptionIdentifier(identifier)) => Some(identifier.to_string().into_bytes()),
        ('P', Property::User(name, value)) => Some(format!("{name}:{value}").into_bytes()),
        _ => None,
    });
    values.collect::<Vec<_>>().join(&b' ')
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use gateway_model::{PayloadFormat, Qos};
    use protocol_mqtt::codec::{Properties, PropertyBuffer};

    use super::*;

    fn written(format: &str, properties: Properties<'_>, payload: &[u8]) -> String {
        let message = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: true,
            topic: b"a/b",
            packet_id: std::num::NonZeroU16::new(1),
            properties,
            payload,
        };
        let mut bytes = Vec::new();
        Format::parse(format).unwrap().write(&message, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_stand_where_the_format_says() {
        let none = Properties::default();
        assert_eq!(written("%t|%p|%x|%X|%l|%q|%r|%d|%m", none, b"ho"), "a/b|ho|686f|686F|2|1|1|0|1\n");
        assert_eq!(written("100%%\\t%p\\\\@@", none, b"x"), "100%\tx\\@\n");
        assert_eq!(written("[%C%D%E%F%P%R%S%A]", none, b"x"), "[]\n");
    }

    #[test]
    fn properties_are_fields() {
        let mut buffer = PropertyBuffer::default();
        buffer
            .push(Property::ContentType("text/plain"))
            .push(Property::ResponseTopic("r"))
            .push(Property::CorrelationData(b"c"))
            .push(Property::MessageExpirySecs(9))
            .push(Property::PayloadFormat(PayloadFormat::Utf8))
            .push(Property::SubscriptionIdentifier(3))
            .push(Property::SubscriptionIdentifier(4))
            .push(Property::TopicAlias(7))
            .push(Property::User("k", "v"))
            .push(Property::User("k", "w"));
        let text = written("%C|%R|%D|%E|%F|%S|%A|%P", buffer.as_properties(), b"x");
        assert_eq!(text, "text/plain|r|c|9|1|3 4|7|k:v k:w\n");
    }

    #[test]
    fn fields_are_as_wide_as_they_are_told() {
        let none = Properties::default();
        assert_eq!(written("%6t|%-6t|%.2t|%06l|%03m", none, b"hello"), "   a/b|a/b   |a/|000005|001\n");
        assert_eq!(written("%8.3x|%-04l|", none, b"hello"), "  68656c|5   |\n");
    }

    #[test]
    fn the_line_end_can_be_left_out_and_an_empty_payload_is_told() {
        let none = Properties::default();
        let empty = Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: b"t",
            packet_id: None,
            properties: none,
            payload: b"",
        };
        let mut bytes = Vec::new();
        Format::verbose().with_line_end(false).write(&empty, &mut bytes).unwrap();
        Format::payload().write(&empty, &mut bytes).unwrap();
        assert_eq!(bytes, b"t (null)\n");
    }

    #[test]
    fn wrong_formats_are_refused() {
        for wrong in ["%y", "%v", "%", "%-", "%5", "\\x", "\\", "@", "@!", "%99999t"] {
            assert!(Format::parse(wrong).is_err(), "{wrong}");
        }
    }
}
