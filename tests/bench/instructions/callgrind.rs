use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io, process};

/// What came of counting.
pub enum Counted {
    /// Instructions, and for how many messages.
    Instructions {
        total: u64,
        messages: u64,
    },
    /// There is nothing to count with.
    Skipped(String),
    Failed(String),
}

/// The committed figures are those of this architecture.
const ARCHITECTURE: &str = "x86_64";

/// Large copies not by the one instruction that copies everything: callgrind counts it once for each byte.
const TUNABLES: &str = "glibc.cpu.x86_rep_movsb_threshold=0x7fffffff:\
    glibc.cpu.x86_rep_stosb_threshold=0x7fffffff";

/// Counts the instructions inside the functions that `pattern` names, in this very program, started
/// again with `arguments` under valgrind. It has to say on its first line how many messages they were for.
///
/// The environment is empty but for [`TUNABLES`], as its size moves the stack, and with it what is aligned
/// how.
pub fn count(pattern: &str, arguments: &[&str]) -> Counted {
    if env::consts::ARCH != ARCHITECTURE {
        return Counted::Skipped(format!("the figures are for {ARCHITECTURE}"));
    }
    let folder = match Folder::new() {
        Ok(folder) => folder,
        Err(error) => return Counted::Failed(format!("no temporary folder: {error}")),
    };
    let file = folder.0.join("callgrind.out");
    let program = env::current_exe().expect("this program has a path");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", &format!("--toggle-collect={pattern}")]);
    valgrind.arg(format!("--callgrind-out-file={}", file.display()));
    valgrind.arg(program).args(arguments).env_clear().current_dir(&folder.0);
    let path = env::var_os("PATH").unwrap_or_default();
    let output = match valgrind.env("PATH", path).env("GLIBC_TUNABLES", TUNABLES).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Counted::Skipped("valgrind is not installed".into());
        }
        Err(error) => return Counted::Failed(format!("valgrind does not start: {error}")),
    };
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Counted::Failed(format!("{} under valgrind\n{said}{told}", output.status));
    }
    let messages = said.lines().next().and_then(|line| line.parse().ok()).unwrap_or(0);
    match total(&file) {
        Some(total) if total > 0 && messages > 0 => Counted::Instructions { total, messages },
        _ => Counted::Failed(format!("nothing was counted in {pattern}\n{said}{told}")),
    }
}

/// The sum that callgrind wrote.
fn total(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}

/// A folder that goes when this goes.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("tidegate-instructions-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for what may be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}
