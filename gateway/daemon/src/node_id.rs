use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use gateway_access::Access;

/// The identity of this gateway among all gateways: 32 hexadecimal digits in the data directory, made at
/// random when there is none. Whoever copies the directory to start a second gateway deletes the file.
pub fn read_or_make(data_dir: &Path) -> Result<String> {
    let path = data_dir.join("node.id");
    let id = read(&path).and_then(|known| known.map_or_else(|| make(&path), Ok));
    id.with_context(|| format!("{} cannot be kept", path.display()))
}

/// `None` if there is none, or only what a crash has left of one.
fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|id| is_id(id))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<String> {
    let id: String = Access::new_secret().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mut file = File::create(path)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    Ok(id)
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let dir = std::env::temp_dir().join(format!("tidegate-node-id-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let first = read_or_make(&dir).unwrap();
        assert!(is_id(&first));
        assert_eq!(read_or_make(&dir).unwrap(), first);
        std::fs::write(dir.join("node.id"), "torn").unwrap();
        assert_ne!(read_or_make(&dir).unwrap(), first);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
