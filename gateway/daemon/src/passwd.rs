use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use gateway_access::{HashForm, PasswordFile};

/// `tidegate passwd`.
#[derive(Args, Debug)]
pub struct PasswdOptions {
    /// The file of passwords (access.password_file); it is made if it is not there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose password to set
    #[arg(value_name = "USER", required_unless_present = "update", conflicts_with = "update")]
    user: Option<String>,
    /// The password; others on this machine may see it while the command runs
    #[arg(short = 'b', long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Read the password from the standard input, without the newline at its end
    #[arg(long, conflicts_with = "password")]
    stdin: bool,
    /// Delete the user
    #[arg(short = 'D', long, conflicts_with_all = ["password", "stdin", "update"])]
    delete: bool,
    /// Hash all passwords of the file that stand in it in plain; hashes of mosquitto_passwd stay
    #[arg(short = 'U', long, conflicts_with_all = ["password", "stdin"])]
    update: bool,
    /// How to hash: argon2id, or scram-sha-256, with which the user can log in by SCRAM too
    #[arg(long, value_name = "FORM", default_value = "argon2id")]
    hash: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Argon2id,
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

pub fn run(options: &PasswdOptions) -> ExitCode {
    match change(options) {
        Ok(text) => {
            // It is done, whether anybody reads of it or not.
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Changes the file, and says what was done.
fn change(options: &PasswdOptions) -> Result<String> {
    let path = &options.file;
    let form = match options.hash {
        Form::Argon2id => HashForm::Argon2id,
        Form::ScramSha256 => HashForm::ScramSha256,
    };
    // Replacing a device or a pipe would destroy it.
    if std::fs::metadata(path).is_ok_and(|old| !old.is_file()) {
        bail!("{} is not a file", path.display());
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !options.delete && !options.update => None,
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let is_new = text.is_none();
    let mut file = PasswordFile::parse(&text.unwrap_or_default());
    let user = options.user.as_deref().unwrap_or_default();
    let done = if options.update {
        let count = file.hash_plain(path, form)?;
        format!("{count} {} hashed", if count == 1 { "password" } else { "passwords" })
    } else if options.delete {
        if !file.remove(user) {
            bail!("{} has no user {user:?}", path.display());
        }
        format!("{user} deleted")
    } else {
        if let Err(problem) = PasswordFile::check_name(user) {
            bail!("{user:?}: {problem}");
        }
        let was_there = file.set(user, &form.hash(password(options)?.as_bytes()));
        format!("{user} {}", if was_there { "changed" } else { "added" })
    };
    replace(path, &file.to_text()).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(match is_new {
        true => format!("{done}; {} is new", path.display()),
        false => format!("{done}; a running gateway reads the file again on SIGHUP"),
    })
}

fn password(options: &PasswdOptions) -> Result<String> {
    let password = if let Some(password) = &options.password {
        password.clone()
    } else if options.stdin {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("the password on the standard input")?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        line.strip_suffix('\r').unwrap_or(line).to_owned()
    } else if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ")?;
        if rpassword::prompt_password("Once more: ")? != first {
            bail!("the two are not the same");
        }
        first
    } else {
        bail!("there is no terminal to ask for the password; use --stdin or -b");
    };
    if password.is_empty() {
        bail!("the password is empty");
    }
    Ok(password)
}

/// Writes a file of secrets so that a reader sees the old or the new one, never a part, and a crash
/// leaves one of them.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // Behind a symbolic link is what the gateway reads.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = write_new(&new, text, path).and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_new(new: &Path, text: &str, old: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(new)?;
    if let Ok(old) = std::fs::metadata(old) {
        let made = file.metadata()?;
        // Or the gateway could not read any more what root has changed.
        if (old.uid(), old.gid()) != (made.uid(), made.gid()) {
            chown(new, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(old.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: PasswdOptions,
    }

    /// A folder with one file of passwords in it, gone when dropped.
    struct Passwords(PathBuf);

    impl Passwords {
        fn make(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("tidegate-passwd-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("passwords")
        }

        fn text(&self) -> String {
            std::fs::read_to_string(self.path()).unwrap()
        }

        fn passwd(&self, arguments: &[&str]) -> Result<String, String> {
            let path = self.path();
            let words = [&["passwd", path.to_str().unwrap()], arguments].concat();
            let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
            change(&line.options).map_err(|error| format!("{error:#}"))
        }
    }

    impl Drop for Passwords {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn users_are_added_changed_and_deleted() {
        let passwords = Passwords::make("users");
        assert!(passwords.passwd(&["a", "-b", "one"]).unwrap().contains("a added"));
        let mode = std::fs::metadata(passwords.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A group that may read the file still may after a change.
        std::fs::set_permissions(passwords.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
        let first = passwords.text();
        assert!(first.starts_with("a:$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        std::fs::write(passwords.path(), format!("# ours\n{first}")).unwrap();

        assert!(passwords.passwd(&["b", "-b", "two", "--hash", "scram-sha-256"]).is_ok());
        assert!(passwords.text().starts_with(&format!("# ours\n{first}b:SCRAM-SHA-256$4096:")));
        assert!(passwords.passwd(&["a", "-b", "three"]).unwrap().starts_with("a changed"));
        let mode = std::fs::metadata(passwords.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(!passwords.text().contains(&first));
        assert!(passwords.passwd(&["-D", "a"]).is_ok());
        assert!(passwords.text().starts_with("# ours\nb:"));
        assert!(passwords.passwd(&["-D", "a"]).unwrap_err().contains("has no user \"a\""));
        let left: Vec<_> = std::fs::read_dir(&passwords.0).unwrap().collect();
        assert_eq!(left.len(), 1, "no new file is left behind");
    }

    #[test]
    fn plain_passwords_are_hashed_in_place() {
        let passwords = Passwords::make("update");
        assert!(passwords.passwd(&["-U"]).unwrap_err().contains("cannot be read"));
        let kept = "old:$7$101$+sPnFDENNtnyQWua$30nG6VmTqVLPCCrUIooyanLGwanoVFsOAd5N1MbzJ0c5iq94h5rOc9j3k+volN0B\
                    uj2Yigw9nFWoqjv1kgVw3g==\n";
        std::fs::write(passwords.path(), format!("{kept}new:word\n")).unwrap();
        assert!(passwords.passwd(&["-U"]).unwrap().starts_with("1 password hashed"));
        assert!(passwords.text().starts_with(&format!("{kept}new:$argon2id$")));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let passwords = Passwords::make("refused");
        for (arguments, words) in [
            (&["a:b", "-b", "x"][..], "no colon"),
            (&["", "-b", "x"], "not empty"),
            (&["a", "-b", ""], "the password is empty"),
            (&["a", "-b", "x", "--hash", "md5"], "argon2id, scram-sha-256"),
            (&["a", "-b", "x", "--stdin"], "cannot be used with"),
            (&[], "required"),
            (&["a", "-U"], "cannot be used with"),
        ] {
            let error = passwords.passwd(arguments).unwrap_err();
            assert!(error.contains(words), "{arguments:?}: {error}");
        }
        assert!(!passwords.path().exists());
        let _socket = std::os::unix::net::UnixListener::bind(passwords.path()).unwrap();
        assert!(passwords.passwd(&["a", "-b", "x"]).unwrap_err().contains("is not a file"));
        assert!(!std::fs::metadata(passwords.path()).unwrap().is_file());
    }
}
