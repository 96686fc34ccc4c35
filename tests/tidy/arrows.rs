//! Who may import whom, and where versions stand.

use crate::harness::{Outcome, World};
use crate::tidy::source::{self, Source};

crate::cases!("tidy": dependencies_follow_the_arrows, versions_stand_in_the_workspace_manifest_only);

/// A crate, and ours that it may depend on; `*` is any rest of a name.
const ARROWS: [(&str, &[&str]); 13] = [
    ("gateway-model", &[]),
    ("gateway-bus", &["gateway-model", "gateway-store"]),
    ("gateway-store", &["gateway-model"]),
    ("gateway-config", &["gateway-model"]),
    ("gateway-access", &["gateway-model", "gateway-config"]),
    (
        "gateway-broker",
        &["gateway-model", "gateway-bus", "gateway-store", "gateway-access", "gateway-config"],
    ),
    ("gateway-admin", &["gateway-model", "gateway-broker", "gateway-config"]),
    ("protocol-mqtt-ws", &["gateway-model", "gateway-config", "protocol-mqtt"]),
    ("protocol-lwm2m", &["gateway-model", "gateway-config", "protocol-coap"]),
    ("protocol-*", &["gateway-model", "gateway-config"]),
    ("bridge-template", &["gateway-model"]),
    ("bridge-*", &["gateway-model", "gateway-config", "bridge-template"]),
    // Only the daemon, the examples and the tests compose.
    ("*", &["*"]),
];

fn dependencies_follow_the_arrows(_: &mut World) -> Outcome {
    let mut findings = Vec::new();
    for manifest in manifests()? {
        let name = value(&manifest.text, "name").unwrap_or_default();
        let allowed =
            ARROWS.iter().find(|(pattern, _)| matches(pattern, &name)).map_or(&[][..], |(_, to)| to);
        for (section, dependency) in dependencies(&manifest.text) {
            let ours =
                ["gateway-", "protocol-", "bridge-"].iter().any(|prefix| dependency.starts_with(prefix));
            let tests_only = section.contains("dev-dependencies");
            if ours && !tests_only && !allowed.iter().any(|pattern| matches(pattern, &dependency)) {
                findings.push(format!("{}: {name} must not depend on {dependency}", manifest.path));
            }
        }
    }
    source::none("arrows", findings)
}

fn versions_stand_in_the_workspace_manifest_only(_: &mut World) -> Outcome {
    let mut findings = Vec::new();
    // A workspace of its own (the fuzz targets) has its versions for itself.
    let members = manifests()?.into_iter().filter(|manifest| !manifest.text.contains("\n[workspace]\n"));
    for manifest in members {
        let lines = manifest.text.lines().skip_while(|line| !line.contains("dependencies"));
        for line in lines.filter(|line| line.contains("version =") || line.contains("= \"")) {
            let own_feature = line.trim_start().starts_with("features") || line.trim_start().starts_with('[');
            let in_dependencies =
                dependencies(&manifest.text).iter().any(|(_, name)| line.starts_with(name.as_str()));
            if in_dependencies && !own_feature {
                findings.push(format!("{}: {line}", manifest.path));
            }
        }
    }
    source::none("a version outside of [workspace.dependencies]", findings)
}

fn manifests() -> Outcome<Vec<Source>> {
    Ok(source::all()?.into_iter().filter(|source| source.path.ends_with("/Cargo.toml")).collect())
}

/// Section and name of every dependency.
fn dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
        } else if section.ends_with("dependencies") && line.contains('=') && !line.starts_with([' ', '#']) {
            let name: String =
                line.chars().take_while(|c| c.is_alphanumeric() || "-_".contains(*c)).collect();
            found.push((section.clone(), name));
        }
    }
    found
}

fn value(manifest: &str, key: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with(&format!("{key} =")))?;
    Some(line.split('"').nth(1)?.to_owned())
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |prefix| name.starts_with(prefix))
}
