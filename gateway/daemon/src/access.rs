use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use gateway_access::{Access, Config};
use gateway_broker::Broker;
use gateway_config::{Key, Origin, Settings};

use crate::reload::Reload;

/// Who may do what, by the settings and the files that they name.
pub fn open(settings: &Settings) -> Result<Access> {
    let own = |listener: &gateway_config::Listener| Some((listener.name.clone(), listener.anonymous?));
    let access = Access::new(config(settings)?).with_listeners(settings.listeners().iter().filter_map(own));
    access.reload().context("access")?;
    Ok(access)
}

/// The `[access]` section; relative paths are seen from the settings file that names them.
fn config(settings: &Settings) -> Result<Config> {
    let config: Config = settings.section("access")?;
    let seen = |key: &str, path: PathBuf| match settings.origin(&Key::new(["access", key])) {
        _ if path.as_os_str().is_empty() => path,
        Origin::File { path: file, .. } => file.parent().unwrap_or(Path::new("")).join(path),
        _ => path,
    };
    Ok(Config {
        password_file: seen("password_file", config.password_file),
        acl_file: seen("acl_file", config.acl_file),
        ..config
    })
}

/// Reads the users and the rules again when that is asked for. Not by itself when a file changes: rules
/// are edited in several steps.
pub fn reload(broker: Arc<Broker>) -> Reload {
    Reload::new(move |always| {
        if !always {
            return;
        }
        match broker.reload_access() {
            Ok(loaded) => {
                tracing::info!(users = loaded.users, rules = loaded.rules, "access: read again");
            }
            Err(error) => tracing::error!("access: nothing has changed: {error}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn files_are_seen_from_the_settings_that_name_them() {
        let text = "[access]\nacl_file = \"rules.acl\"\npassword_file = \"/abs\"\n";
        let load = |layers: gateway_config::Layers| {
            let settings = layers.load(&catalog::known()).unwrap_or_else(|problems| panic!("{problems}"));
            let config = config(&settings).unwrap();
            (config.acl_file, config.password_file)
        };
        let layers = gateway_config::Layers::new().text(Path::new("/etc/tidegate/t.toml"), text);
        assert_eq!(load(layers), ("/etc/tidegate/rules.acl".into(), "/abs".into()));
        let layers = gateway_config::Layers::new().set("access.acl_file=rules.acl");
        assert_eq!(load(layers), ("rules.acl".into(), "".into()));
    }
}
