//! Every mode of `bench` on very little data: it runs to its end, engines answer alike, and what it says is written down.
//!
//! Figures mean nothing at this size; that they are there does.

use std::path::Path;
use std::process::Command;

/// Runs `bench` with these words and gives what it wrote to the report.
fn bench(words: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let report = folder.path().join("report.md");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(words.split_whitespace())
        .arg("--report")
        .arg(&report)
        .output()
        .expect("the binary can be run");
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "bench {words}: {}\n{said}", output.status);
    written(&report)
}

fn written(report: &Path) -> String {
    std::fs::read_to_string(report).expect("the report is written")
}

#[test]
fn a_suite_is_loaded_in_every_form_and_answers_as_postgresql_does() {
    let report = bench("suite --hosts 8 --instances 2 --clients 2");
    for expected in
        ["COPY binary", "prepared INSERT, batched", "groupby-orderby-limit", "All engines gave the same answers"]
    {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
}

#[test]
fn trucks_lose_and_delay_rows_and_their_thirteen_queries_are_answered_as_postgresql_does() {
    let report = bench("suite --shape iot --hosts 12 --hours 5 --instances 2 --form binary");
    for expected in ["breakdown-frequency", "All engines gave the same answers"] {
        assert!(report.contains(expected), "{expected} in\n{report}");
    }
}

#[test]
fn answers_stay_right_after_a_shuffled_load_with_updates_and_deletes() {
    let report = bench("answers --hosts 6 --hours 1 --instances 1");
    assert!(report.contains("killed and restarted"), "{report}");
}

#[test]
fn loads_of_the_other_modes_run_to_their_end() {
    for (words, expected) in [
        ("ingest --hosts 4 --clients 1,3 --form prepared,csv --no-peer", "3000 ms of level 1"),
        ("disorder --hosts 4 --form binary", "30 %"),
        ("cardinality --series 4,40 --rows 400 --form csv", "tables made/s"),
        ("recovery --hosts 4 --form binary", "s per GiB"),
        ("flat --hosts 50 --steps 1,2 --instances 1 --form binary", "growth"),
        ("size --hosts 4 --shape devops --no-peer --form csv", "after COMPACT"),
        ("size --hosts 4 --shape meters --no-peer --form insert", "after COMPACT"),
    ] {
        let report = bench(words);
        assert!(report.contains(expected), "{words}: {expected} in\n{report}");
    }
}
