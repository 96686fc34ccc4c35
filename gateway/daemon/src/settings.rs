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
