//! The commands of README.md, as they stand there.

use std::process::Command;

use crate::ensure;
use crate::harness::gateway::data_dir;
use crate::harness::{Outcome, Stop, World, place};

crate::cases!("readme": the_commands_of_the_first_message_work);

/// Stands before each block of commands that is run here.
const MARK: &str = "<!-- tested -->";

/// What the blocks use besides `tidegate`, and the prologue.
const PROGRAMS: [&str; 6] = ["mosquitto_pub", "mosquitto_sub", "coap-client-notls", "curl", "ip", "unshare"];

/// Starts the gateway, waits until it is ready, and stops it whatever happens.
const PROLOGUE: &str = r#"set -eu
ip link set lo up
"$1" serve --data "$2" &
gateway=$!
trap 'kill $gateway; wait $gateway' EXIT
for _ in $(seq 100); do curl -fso /dev/null 127.0.0.1:18083/readyz && break; sleep 0.1; done
"#;

/// The blocks use the default ports, so they run in a network namespace of their own, against a
/// gateway with its defaults, with `tidegate` on the path.
fn the_commands_of_the_first_message_work(world: &mut World) -> Outcome {
    let Ok(readme) = std::fs::read_to_string(place::root().join("README.md")) else {
        return Err(Stop::Skipped("there is no README.md".into()));
    };
    let blocks = tested_blocks(&readme);
    ensure!(!blocks.is_empty(), "README.md marks no ```sh block with {MARK}");
    for program in PROGRAMS {
        place::program(program)?;
    }
    let binary = place::tidegate()?;
    let script = world.write("readme.sh", &format!("{PROLOGUE}{}\n", blocks.join("\n")))?;
    let mut run = Command::new("unshare");
    run.args(["--net", "bash"]).arg(script).arg(&binary).arg(data_dir(world)).current_dir(&world.dir);
    let folder = binary.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    run.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap_or_default()));
    let finished = world.run("the README's commands", &mut run, 120)?;
    if finished.text().contains("unshare: unshare failed") {
        return Err(Stop::Skipped("no network namespaces here".into()));
    }
    ensure!(finished.code == Some(0), "they ended with {:?}", finished.code);
    Ok(())
}

fn tested_blocks(readme: &str) -> Vec<String> {
    readme
        .split(MARK)
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix("```sh\n"))
        .filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block.to_owned()))
        .collect()
}
