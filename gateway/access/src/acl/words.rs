/// A word of a rule, and whether quotes stood around a part of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// It began with a quote: it is a filter, whatever it looks like.
    pub(crate) quoted: bool,
}

/// Words between spaces; quotes keep spaces together, in them `\"` and `\\` are `"` and `\`.
pub(crate) fn words(line: &str) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut characters = line.chars().peekable();
    loop {
        while characters.next_if(|character| character.is_whitespace()).is_some() {}
        let Some(first) = characters.peek() else { return Ok(words) };
        let mut word = Word { text: String::new(), quoted: *first == '"' };
        while let Some(character) = characters.next_if(|character| !character.is_whitespace()) {
            if character != '"' {
                word.text.push(character);
                continue;
            }
            loop {
                match characters.next().ok_or("a quote is not closed")? {
                    '"' => break,
                    '\\' => word.text.push(
                        characters
                            .next_if(|character| matches!(character, '"' | '\\'))
                            .ok_or("in quotes, write \\\\ for a backslash and \\\" for a quote")?,
                    ),
                    other => word.text.push(other),
                }
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_spaces_together() {
        let of = |line| {
            let words = words(line).unwrap();
            words.into_iter().map(|word| (word.text, word.quoted)).collect::<Vec<_>>()
        };
        let word = |text: &str, quoted| (text.to_owned(), quoted);
        assert_eq!(of("  a\tb  "), [word("a", false), word("b", false)]);
        assert_eq!(of(r#""a b/\"c\\" x"#), [word("a b/\"c\\", true), word("x", false)]);
        assert_eq!(of(r#"user="press 17" ="#), [word("user=press 17", false), word("=", false)]);
        assert_eq!(of(r#""""#), [word("", true)]);
        assert!(words("a \"b").is_err() && words(r#""a\n""#).is_err());
    }
}
