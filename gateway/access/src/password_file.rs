use std::collections::HashMap;
use std::path::Path;

use crate::FileError;
use crate::HashForm;
use crate::file_error::without_mark;
use crate::password::Password;

/// A file of passwords: `name:hash` lines, comments that begin with `#`, empty lines. Whatever is not
/// changed stays as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordFile {
    lines: Vec<String>,
}

impl PasswordFile {
    pub fn parse(text: &str) -> Self {
        Self { lines: without_mark(text).lines().map(str::to_owned).collect() }
    }

    /// Whether the name can stand in such a file.
    pub fn check_name(name: &str) -> Result<(), &'static str> {
        match name {
            "" => Err("a user name is not empty"),
            _ if name.starts_with('#') => Err("a user name that begins with # would be a comment"),
            _ if name.trim() != name => Err("a user name does not begin or end with a space"),
            _ if name.contains([':', '\n', '\r', '\0']) => Err("a user name holds no colon and no line end"),
            _ => Ok(()),
        }
    }

    /// Adds a user, or replaces the hash of one that is there. Whether it was there.
    pub fn set(&mut self, name: &str, hash: &str) -> bool {
        let line = format!("{name}:{hash}");
        match self.position(name) {
            Some(at) => {
                self.lines[at] = line;
                true
            }
            None => {
                self.lines.push(line);
                false
            }
        }
    }

    /// Whether the user was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.position(name).map(|at| self.lines.remove(at)).is_some()
    }

    /// Hashes what stands in plain, as in a file that was written by hand for mosquitto_passwd -U.
    /// Returns how many passwords that were.
    pub fn hash_plain(&mut self, path: &Path, form: HashForm) -> Result<usize, FileError> {
        let mut hashed = self.lines.clone();
        let mut count = 0;
        for (index, line) in self.lines.iter().enumerate() {
            let Some(entry) = entry(line) else { continue };
            let at = |text| FileError::at(path, index + 1, text);
            let (name, password) = entry.map_err(|text| at(text.to_owned()))?;
            let known = Password::parse_hash(password);
            if known.map_err(|error| at(format!("the password of {name:?} {error}")))?.is_none() {
                hashed[index] = format!("{name}:{}", form.hash(password.as_bytes()));
                count += 1;
            }
        }
        self.lines = hashed;
        Ok(count)
    }

    pub fn to_text(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// All users with their hashes, or the first line that is wrong.
    pub(crate) fn users(&self, path: &Path) -> Result<HashMap<Box<str>, Password>, FileError> {
        let mut users = HashMap::new();
        for (index, line) in self.lines.iter().enumerate() {
            let Some(entry) = entry(line) else { continue };
            let at = |text| FileError::at(path, index + 1, text);
            let (name, hash) = entry.map_err(|text| at(text.to_owned()))?;
            let password = Password::parse_hash(hash);
            let password = password.map_err(|error| at(format!("the password of {name:?} {error}")))?;
            let password = password.ok_or_else(|| {
                at(format!(
                    "the password of {name:?} is not hashed; tidegate passwd -U {} hashes all that are not",
                    path.display()
                ))
            })?;
            if users.insert(name.into(), password).is_some() {
                return Err(at(format!("{name:?} stands in the file twice")));
            }
        }
        Ok(users)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| matches!(entry(line), Some(Ok((found, _))) if found == name))
    }
}

/// Name and hash; `None` for a comment and an empty line.
fn entry(line: &str) -> Option<Result<(&str, &str), &'static str>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    Some(match line.split_once(':') {
        Some(("", _)) => Err("there is no user name before the colon"),
        Some((_, "")) => Err("there is no hash after the colon"),
        Some(parts) => Ok(parts),
        None => Err("is not name:hash"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALTED: &str = "$6$/ycJ5LqbZQwfhW8Y$8eJ8uzzj8hj70DkFzR+KOgABFVVwIUZGLOT0HGJ/zMtDbHgVQj0s02X2HCNpEyZDS\
                          CxHe31ThMmkFOaYj5vO5w==";

    fn error(text: &str) -> String {
        let users = PasswordFile::parse(text).users(Path::new("p"));
        users.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named_by_line() {
        assert_eq!(error("# c\n\nnonsense\n"), "p:3: is not name:hash");
        assert_eq!(error(":x\n"), "p:1: there is no user name before the colon");
        assert_eq!(error("a:\n"), "p:1: there is no hash after the colon");
        assert!(error(&format!("a:{SALTED}\na:{SALTED}")).contains("p:2: \"a\" stands in the file twice"));
        let plain = error("a:hello");
        assert!(plain.contains("tidegate passwd -U p") && !plain.contains("hello"), "{plain}");
        let broken = error("a:$6$x$secret");
        assert!(broken.contains("is not a whole hash") && !broken.contains("secret"), "{broken}");
    }

    #[test]
    fn a_change_leaves_the_rest_alone() {
        let mut file = PasswordFile::parse("# ours\n\n b:old \nc:x");
        assert!(file.set("b", "new") && !file.set("d", "y"));
        assert!(file.remove("c") && !file.remove("c"));
        assert_eq!(file.to_text(), "# ours\n\nb:new\nd:y\n");
        let marked = PasswordFile::parse("\u{FEFF}a:x\r\n");
        assert_eq!(marked.to_text(), "a:x\n", "the mark of an editor is not part of a name");
        for bad in ["", "#a", "a:b", " a", "a\nb"] {
            assert!(PasswordFile::check_name(bad).is_err(), "{bad:?}");
        }
        assert!(PasswordFile::check_name("press 17").is_ok());
    }

    #[test]
    fn plain_passwords_are_hashed_and_hashes_kept() {
        let mut file = PasswordFile::parse(&format!("# c\nold:{SALTED}\nplain:a:b $x\n"));
        assert_eq!(file.hash_plain(Path::new("p"), HashForm::ScramSha256), Ok(1));
        assert!(file.to_text().starts_with(&format!("# c\nold:{SALTED}\nplain:SCRAM-SHA-256$4096:")));
        let users = file.users(Path::new("p")).unwrap();
        assert!(users["old"].verify(b"pass phrase") && users["plain"].verify(b"a:b $x"));
        assert_eq!(file.hash_plain(Path::new("p"), HashForm::Argon2id), Ok(0));
    }
}
