use std::io::Write;
use std::process::ExitCode;

use gateway_config::{Layers, Problems, Settings};

use crate::catalog;
use crate::cli::SettingsOptions;

/// All layers, judged with what the catalog knows.
pub fn load(options: &SettingsOptions) -> Result<Settings, Problems> {
    let mut layers = Layers::new();
    if let Some(path) = &options.config {
        layers = layers.file(path);
    }
    // A name or value that is not UTF-8 cannot be one of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    layers = layers.environment(variables);
    for assignment in &options.assignments {
        layers = layers.set(assignment);
    }
    if let Some(directory) = &options.data {
        layers = layers.argument("--data", "node.data_dir", directory);
    }
    layers.load(&catalog::known())
}

/// `tidegate check`: the settings on standard output and warnings on standard error, or everything
/// that is wrong and exit code 1.
pub fn check(options: &SettingsOptions) -> ExitCode {
    let settings = match load(options) {
        Ok(settings) => settings,
        Err(problems) => return refuse(&problems),
    };
    let mut stdout = std::io::stdout().lock();
    for line in settings.report() {
        // A reader that has seen enough (`| head`) is no error.
        if writeln!(stdout, "{line}").is_err() {
            break;
        }
    }
    if let Err(error) = crate::serve::load_tls(&settings) {
        eprintln!("{error}\n1 problem in the files that the settings name");
        return ExitCode::FAILURE;
    }
    if let Err(error) = crate::access::check(&settings) {
        eprintln!("{error:#}\n1 problem in the files that the settings name");
        return ExitCode::FAILURE;
    }
    for warning in crate::warnings::warnings(&settings) {
        eprintln!("warning: {warning}");
    }
    ExitCode::SUCCESS
}

/// Says what is wrong with the settings; the exit code is 1.
pub fn refuse(problems: &Problems) -> ExitCode {
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    eprintln!("{problems}\n{count} {noun} in the settings");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::path::Path;

    use gateway_config::{DEFAULT_TEXT, Key, fields};
    use serde::de::DeserializeOwned;

    use super::*;

    /// Every key stands in the embedded file, with the value that the type has without it.
    fn assert_documented<T: DeserializeOwned + Default + Debug>(section: &str) {
        let settings = Layers::new().load(&catalog::known()).unwrap();
        let read: T = settings.section(section).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", T::default()), "[{section}]");
        let keys: Vec<Key> = settings.report().into_iter().map(|line| line.key).collect();
        for field in fields::<T>() {
            let is_commented = DEFAULT_TEXT.contains(&format!("\n# [[{section}.{field}]]\n"));
            let documented = is_commented || keys.contains(&Key::new([section, field]));
            assert!(documented, "{section}.{field} is not in tidegate.toml");
        }
    }

    #[test]
    fn every_key_of_every_section_is_documented_with_its_default() {
        assert_documented::<gateway_access::Config>("access");
        assert_documented::<protocol_mqtt::Config>("mqtt");
        assert_documented::<protocol_mqtt_ws::Config>("mqtt-ws");
        assert_documented::<protocol_coap::Config>("coap");
        assert_documented::<protocol_lwm2m::Config>("lwm2m");
        assert_documented::<gateway_broker::SysSettings>("sys");
    }

    #[test]
    fn every_key_of_every_list_has_an_example() {
        for (name, fields) in [
            ("rewrite", fields::<gateway_broker::RewriteSettings>()),
            ("auto_subscribe", fields::<gateway_broker::AutoSubscribeSettings>()),
        ] {
            let start = DEFAULT_TEXT.find(&format!("\n# [[{name}]]\n")).expect("an example") + 1;
            let lines = DEFAULT_TEXT[start..].lines().map_while(|line| line.strip_prefix("# "));
            let example: String = lines.map(|line| format!("{line}\n")).collect();
            for field in fields {
                let documented = example.lines().any(|line| line.starts_with(&format!("{field} = ")));
                assert!(documented, "{name}.{field} is not in tidegate.toml");
            }
            let loaded = Layers::new().text(Path::new("example.toml"), &example).load(&catalog::known());
            loaded.unwrap_or_else(|problems| panic!("{problems}\n{example}"));
        }
    }

    /// The commented example of a kind of bridge, as it reads without the comment signs.
    fn example_of(kind: &str) -> String {
        let start = DEFAULT_TEXT.find(&format!("\n# Kind \"{kind}\" has ")).expect("an example") + 1;
        let lines = DEFAULT_TEXT[start..].lines();
        lines
            .skip_while(|line| *line != "#")
            .skip(1)
            .map_while(|line| line.strip_prefix("# "))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn every_key_of_every_kind_of_bridge_has_an_example() {
        for schema in catalog::known().bridges {
            let example = example_of(schema.name);
            for field in schema.fields() {
                // Shared with all bridges, and so in their example.
                let is_common = gateway_config::BridgeKeys::NAMES.contains(field);
                let documented = example.lines().any(|line| line.starts_with(&format!("{field} = ")));
                assert!(documented || is_common, "{field} of {} is not in tidegate.toml", schema.name);
            }
            let text = format!(
                "[[bridge]]\nname = \"a\"\nkind = \"{}\"\ntopics = [\"t\"]\n{}",
                schema.name,
                example
                    .replace("file:///run/secrets/webhook", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
                    .replace("file://", "not-a-file://")
            );
            let loaded = Layers::new().text(Path::new("example.toml"), &text).load(&catalog::known());
            loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        }
    }

    #[test]
    fn the_data_directory_has_an_argument_of_its_own() {
        let options = SettingsOptions {
            data: Some("/elsewhere".to_owned()),
            assignments: vec!["node.data_dir=/here".to_owned()],
            ..SettingsOptions::default()
        };
        let settings = load(&options).unwrap();
        assert_eq!(settings.node.data_dir, Path::new("/elsewhere"));
        assert_eq!(settings.origin(&Key::new(["node", "data_dir"])).to_string(), "--data");
    }
}
