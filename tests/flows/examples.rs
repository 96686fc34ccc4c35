//! The settings of `examples/`, and the messages that they are shown with.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::gateway::data_dir;
use crate::harness::{Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("examples":
    every_settings_file_of_the_examples_is_right,
    the_message_of_every_example_reaches_its_bridges,
);

const BACKLOG: &str = "tidegate_bridge_backlog_messages{";

/// Runs one example in a network of its own, where there is no Kafka: its message waits.
const SCRIPT: &str = r#"set -eu
ip link set lo up
tidegate serve --config "$1/tidegate.toml" --data "$2" &
gateway=$!
trap 'kill $gateway; wait $gateway' EXIT
for _ in $(seq 100); do curl -fso /dev/null 127.0.0.1:18083/readyz && break; sleep 0.1; done
bash -eu "$1/publish.sh"
curl -fs 127.0.0.1:18083/metrics
"#;

fn every_settings_file_of_the_examples_is_right(world: &mut World) -> Outcome {
    for folder in folders()? {
        let mut check = Command::new(place::tidegate()?);
        check.arg("check").arg(folder.join("tidegate.toml"));
        world.succeed(&format!("tidegate check {}", folder.display()), &mut check, 10)?;
    }
    Ok(())
}

fn the_message_of_every_example_reaches_its_bridges(world: &mut World) -> Outcome {
    for program in ["coap-client-notls", "curl"] {
        place::program(program)?;
    }
    let script = world.write("example.sh", SCRIPT)?;
    let binary = place::tidegate()?;
    let beside = binary.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    for folder in folders()? {
        let mut run = Command::new("unshare");
        run.args(["--net", "bash"]).arg(&script).arg(&folder).arg(data_dir(world)).current_dir(&world.dir);
        run.env("PATH", format!("{beside}:{}", std::env::var("PATH").unwrap_or_default()));
        let finished = world.run(&folder.display().to_string(), &mut run, 60)?;
        if finished.text().contains("unshare: unshare failed") {
            return Err(Stop::Skipped("no network namespaces here".into()));
        }
        ensure_eq!(finished.code, Some(0), "how {} ended", folder.display());
        let backlogs: Vec<_> = finished.lines.iter().filter(|line| line.starts_with(BACKLOG)).collect();
        ensure!(!backlogs.is_empty(), "{} has no bridge", folder.display());
        let without = backlogs.iter().find(|line| line.ends_with(" 0"));
        ensure!(without.is_none(), "nothing waits for a bridge of {}: {without:?}", folder.display());
    }
    Ok(())
}

/// The folders of `examples/` that hold settings.
fn folders() -> Outcome<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(place::root().join("examples"))? {
        let path = entry?.path();
        if path.join("tidegate.toml").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    ensure!(!folders.is_empty(), "no folder of examples/ holds a tidegate.toml");
    Ok(folders)
}
