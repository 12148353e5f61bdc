//! What the command line says of itself.

use std::process::Command;

fn said(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_marigraph")).args(arguments).output().expect("the binary can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn version_help_and_configuration_are_printed() {
    let (fine, version) = said(&["--version"]);
    assert!(fine && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let (fine, help) = said(&["serve", "--help"]);
    assert!(fine && ["--data-dir", "--pg-listen", "--set"].iter().all(|flag| help.contains(flag)), "{help}");
    let (fine, config) = said(&["config", "--set", "flush_rows=1234"]);
    assert!(fine && config.contains("1234") && config.contains('#'), "{config}");
}
